"""A chat that goes on elsewhere is the same prompt: in the window, in plain lines and with `-p`."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from runner.chat.conversation import Conversation
from runner.chat.host import ChatSetup
from runner.chat.sessions.store import list_sessions
from runner.chat.tools.mcp.config import read_servers
from runner.chat.wire import Options
from runner.cli.one_answer import ask_once
from runner.tui.settings import SettingsFile
from tests.fakes.plain_user import PlainUser
from tests.fakes.sse_server import Call, End, FakeHosts, FakeServer, Say, Step, Think
from tests.unit.cli.test_mcp_option import GOOD, configure, table
from tests.unit.tui.test_app import chat

ZOOM: Final = Call("zoom", json.dumps({"image": 1, "x": 100, "y": 200, "w": 500, "h": 500}))
LOOKS: Final[tuple[list[Step], ...]] = (
    [Think("small"), ZOOM, End("tool_calls")],
    [Think("now"), Say("It is a cat."), End()],
)
PLAIN: Final[tuple[list[Step], ...]] = ([Say("Sure."), End()],)
# What says how to answer, and is no part of the prompt.
APART: Final = frozenset({"reasoning_control", "messages"})

Bodies = list[dict[str, Any]]
Ask = Callable[[str, str, tuple[Path, ...], tuple[list[Step], ...]], Awaitable[Bodies]]


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / "home"))
    settings = SettingsFile()
    settings.choose(effort="low", max_thinking="4096")
    settings.write()


async def in_the_window(
    question: str, resume: str, pictures: tuple[Path, ...], scripts: tuple[list[Step], ...]
) -> Bodies:
    more: dict[str, Any] = {"resume": resume, "pictures": pictures, "mcp": mcp_names()}
    async with chat(*scripts, **more) as c:
        await c.until(lambda: not mcp_names() or c.app.tools.tools)
        if pictures:
            await c.sees("[Image #1]")
        await c.type(question)
        await c.until(lambda: len(c.server.requests) == len(scripts))
        await c.ready()
        return list(c.server.requests)


async def in_plain_lines(
    question: str, resume: str, pictures: tuple[Path, ...], scripts: tuple[list[Step], ...]
) -> Bodies:
    with FakeServer(*scripts) as server:
        PlainUser([question]).run(setup(server, resume, pictures))
        return list(server.requests)


async def in_one_answer(
    question: str, resume: str, pictures: tuple[Path, ...], scripts: tuple[list[Step], ...]
) -> Bodies:
    with FakeServer(*scripts) as server:
        await ask_once(setup(server, resume, pictures), question)
        return list(server.requests)


def mcp_names() -> tuple[str, ...]:
    """Return the servers of the file, which are on in each chat."""
    return tuple(read_servers())


def setup(server: FakeServer, resume: str, pictures: tuple[Path, ...]) -> ChatSetup:
    return ChatSetup(
        "Fake 1B",
        FakeHosts(server.url),
        Options(),
        context=4096,
        sees=True,
        resume=resume,
        pictures=pictures,
        mcp=mcp_names(),
    )


WAYS: Final[tuple[Ask, ...]] = (in_the_window, in_plain_lines, in_one_answer)


@pytest.mark.parametrize("then", WAYS)
@pytest.mark.parametrize("first", WAYS)
async def test_a_chat_that_goes_on_elsewhere_is_the_same_prompt(first: Ask, then: Ask, tmp_path):
    path = tmp_path / "cat.png"
    Image.new("RGB", (64, 48), "blue").save(path)
    before = (await first("What is it?", "", (path,), LOOKS))[-1]
    [identity] = list_sessions()
    with_system(identity)
    (after,) = await then("Sure?", identity, (), PLAIN)
    assert "tools" in before
    assert {k: v for k, v in after.items() if k not in APART} == {
        k: v for k, v in before.items() if k not in APART
    }
    system, *earlier = after["messages"][: len(before["messages"]) + 1]
    assert system == {"role": "system", "content": "Be brief."}
    assert [without_thinking(each) for each in earlier] == [
        without_thinking(each) for each in before["messages"]
    ]


async def test_the_tools_stand_in_the_same_order_with_those_of_a_server_behind(tmp_path):
    configure(table("good", GOOD))
    path = tmp_path / "cat.png"
    Image.new("RGB", (64, 48), "blue").save(path)
    offered = []
    for ask in WAYS:
        (body,) = await ask("What is it?", "", (path,), PLAIN)
        offered.append(body["tools"])
    assert offered[0] == offered[1] == offered[2]
    names = [tool["function"]["name"] for tool in offered[0]]
    assert names[:3] == ["zoom", "mark", "good__add"]


def test_where_nobody_types_a_call_is_refused_to_the_model_and_that_is_printed():
    configure(table("good", GOOD))
    add: list[Step] = [Call("good__add", json.dumps({"a": 2, "b": 3})), End("tool_calls")]
    with FakeServer(add, *PLAIN) as server:
        user = PlainUser(["add"])
        assert user.run(setup(server, "", ())) == 0
        assert "did not allow this call" in server.requests[1]["messages"][-1]["content"]
    assert "good is on: 8 tools.\n" in user.text
    line = "good__add was not run: it needs your permission, and nobody types here.\n"
    assert f'Called good__add with {{"a": 2, "b": 3}}.\n{line}' in user.text


def test_a_resumed_chat_is_not_said_to_be_read_again_for_the_servers_that_it_had():
    configure(table("good", GOOD))
    with FakeServer(*PLAIN, *PLAIN) as server:
        PlainUser(["hi"]).run(setup(server, "", ()))
        [identity] = list_sessions()
        user = PlainUser(["and?"])
        user.run(setup(server, identity, ()))
    assert "good is on: 8 tools.\n" in user.text


def with_system(identity: str) -> None:
    """Choose a system prompt: the chat is written on with it, whoever does so."""
    conversation = Conversation("Fake 1B", identity)
    conversation.choose(system="Be brief.")
    conversation.close()


def without_thinking(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as it is sent once its answer is over (`Conversation.messages`)."""
    return {key: value for key, value in message.items() if key != "reasoning_content"}
