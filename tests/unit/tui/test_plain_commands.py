"""The commands of the chat in plain lines that are those of the window."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO, cast

import pytest
from PIL import Image

from runner.chat.dialect import Offer
from runner.chat.host import ChatSetup, Find
from runner.chat.sessions.index import list_chats
from runner.chat.wire import Options
from runner.tui.plain.chat import PlainChat
from runner.tui.plain.keyboard import Keyboard
from runner.tui.plain.messages import PlainMessages
from runner.tui.plain.output import PlainOutput
from runner.tui.settings import SettingsFile
from tests.fakes.plain_user import PlainUser
from tests.fakes.sse_server import End, FakeHosts, FakeServer, Gate, Say, Step, Think
from tests.unit.tui.test_plain import FINE, Ran, user_home  # noqa: F401 - a fixture


def test_files_that_a_message_mentions_are_sent_with_it_with_their_price(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("one two three\n")
    ran = Ran(FINE, FINE, lines=["count @notes.txt, @nothing.txt", "and?"])
    assert "[File] notes.txt · 7 tokens, sent with this message." in ran.text
    first = ran.server.requests[0]["messages"][0]["content"]
    assert "one two three" in first
    assert first.endswith("count @notes.txt, @nothing.txt")
    assert ran.turns[1].files == ()


def test_a_file_that_cannot_be_sent_keeps_the_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("zip.bin").write_bytes(bytes(range(256)) * 9)
    Path("long.txt").write_text("many words to read\n" * 4000)
    ran = Ran(FINE, lines=["see @zip.bin", "/drop", "see @long.txt", "/drop", "hi"])
    assert "zip.bin cannot be attached." in ran.text
    assert "long.txt does not fit." in ran.text
    assert ran.text.count("Not sent, and kept: see @") == 2
    assert [turn.text for turn in ran.turns] == ["hi"]


def test_what_was_pasted_attaches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("secret\n")
    user = PlainUser([])
    with FakeServer(FINE) as server:
        out = PlainOutput(user.printed)
        chat = PlainChat(
            ChatSetup("Fake 1B", FakeHosts(server.url), Options()),
            Keyboard(cast(TextIO, user), out),
            out,
        )
        messages = chat.wing(PlainMessages)

        def pasted(_: Keyboard) -> str:
            chat.wait(messages.send("see\n@notes.txt", pasted=True))
            raise EOFError

        monkeypatch.setattr(Keyboard, "message", pasted)
        chat.run()
        assert "secret" not in str(server.requests)
    assert "notes.txt was pasted, and is not attached. /attach notes.txt attaches it." in user.text


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("/system", "The system prompt is as it was."),
        ("/temperature hot", "'hot' is not a temperature."),
        ("/temperature", "Temperature: the default, in this chat."),
        ("/thinking", "The thinking has no limit"),
        ("/thinking much", "'much' is not a number of tokens."),
        ("/model", "This chat cannot change its engine."),
        ("/tools", "zoom and mark are offered from the first message on that has an image."),
        ("/tools maybe", "'maybe' is neither on nor off."),
        ("/mcp", "MCP servers are in a file of yours"),
        ("/mcp wiki", "No MCP server is called wiki."),
        ("/mcp wiki add", "Nothing was decided on add of wiki."),
        ("/find", "Type /find WORDS."),
        ("/find this", "This chat does not have these words."),
        ("/fork", "There is nothing to copy yet."),
        ("/rename", "Type /rename NAME."),
        ("/open /nothing/here.json", "/nothing/here.json"),
        ("/help", "/temperature [X|default]: set the sampling temperature"),
    ],
)
def test_each_command_of_the_window_says_what_came_of_it(command, answer, monkeypatch):
    monkeypatch.setenv("VISUAL", f"{sys.executable} -c pass")
    ran = Ran(lines=[command])
    expected = answer if command != "/system" else "There is no system prompt."
    assert expected in ran.text
    assert ran.turns == []


def test_the_chats_own_settings_are_sent_and_what_they_cost_is_said():
    commands = ["/system Be brief.", "/temperature 0,5", "/thinking 100"]
    ran = Ran(FINE, FINE, lines=["hi", *commands, "and?", "/system none"])
    body = ran.server.requests[1]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["temperature"] == 0.5
    assert "The system prompt is changed. The next message reads all" in ran.text
    assert "Temperature: 0.5, in this chat." in ran.text
    assert "The thinking ends after 100 tokens" in ran.text
    assert SettingsFile().now.max_thinking == "100"
    assert "There is no system prompt any more." in ran.text


def test_the_image_tools_are_switched_off_and_that_is_remembered(tmp_path):
    Image.new("RGB", (64, 48), "blue").save(tmp_path / "cat.png")
    lines = ["hi there", "/tools off", "and?", "/tools on", "again"]
    ran = Ran(FINE, FINE, FINE, lines=lines, pictures=(tmp_path / "cat.png",))
    assert ["tools" in request for request in ran.server.requests] == [True, False, True]
    assert "The image tools are off. The next message reads all" in ran.text
    assert SettingsFile().now.tools == "on"


def test_words_are_found_here_and_in_all_chats():
    ran = Ran(FINE, FINE, lines=["What of élan?", "more", "/find ELAN", "/find 1", "/find 9"])
    assert "1. Question: What of élan?\n1 place has these words." in ran.text
    assert ran.text.count("> What of élan?\n") == 2
    first = ran.conversation.session.id
    found = Ran(lines=["/chats elan", "/chats good answer", "/resume 1"])
    assert f"1. What of élan?, 2 answers, {first}: What of élan?" in found.text
    assert f"1. What of élan?, 2 answers, {first}: A good answer." in found.text
    assert f"Resumed the chat {first}: 2 questions." in found.text


def test_a_chat_is_named_copied_saved_and_opened_again(tmp_path):
    path = tmp_path / "chat.json"
    lines = [
        "hi",
        "/rename The  sea",
        "/fork",
        "/chats",
        f"/save {path}",
        f"/open {path}",
        "/chats",
    ]
    ran = Ran(FINE, lines=lines)
    assert "This chat is called The sea." in ran.text
    assert ran.text.count("Resumed the chat ") == 2
    assert len(list_chats()) == 3
    assert len({each.id for each in list_chats()}) == 3


def test_another_model_of_the_server_is_talked_to():
    class Offers:
        async def offered(self) -> Sequence[Offer]:
            return (Offer("small-7b"), Offer("large-70b"), Offer("large-80b"))

        def finding(self, model: str) -> Find:
            async def find(_: Callable[[float], None]) -> ChatSetup:
                options = Options(model=model)
                return ChatSetup(model, FakeHosts(ran_at[0]), options, context=4096)

            return find

    ran_at: list[str] = []
    user = PlainUser(["/model", "/model large", "/model small", "hi", "/status"])
    with FakeServer(FINE) as server:
        ran_at.append(server.url)
        setup = ChatSetup("F", FakeHosts(server.url), Options(model="large-70b"), models=Offers())
        user.run(setup)
        assert server.requests[0]["model"] == "small-7b"
    assert "large-70b, now\n" in user.text
    assert "2 have it in their name." in user.text
    assert "Now with small-7b." in user.text
    assert "Model: small-7b\n" in user.text


def test_the_thinking_is_ended_by_a_command_that_is_typed_meanwhile(monkeypatch):
    gate = Gate()
    asked: list[object] = []

    def typed_ahead(board: Keyboard) -> tuple[str, ...]:
        if asked or board.parts:
            return ()
        return ("/answer",)

    def forget(_: Keyboard) -> None:
        asked.append(1)

    monkeypatch.setattr(Keyboard, "take_waiting", typed_ahead)
    monkeypatch.setattr(Keyboard, "forget_last", forget)
    ended: list[Step] = [Think("hm "), Think("hm"), gate, Say("Yes."), End()]
    user = PlainUser(["hi"])
    with FakeServer(ended) as server:
        server.controlled = gate
        user.run(ChatSetup("F", FakeHosts(server.url), Options(), context=4096))
    assert "The thinking ends here; the answer follows." in user.text
    assert "Yes." in user.text


def stopped_in_thought(user: PlainUser) -> threading.Thread:
    """Press Ctrl+C as soon as the model thinks."""

    def press() -> None:
        deadline = time.monotonic() + 30
        while user.chat is None or not user.chat.talk.thinks:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        user.chat._interrupt_work()

    return threading.Thread(target=press, daemon=True)


def test_a_stop_in_the_thinking_says_how_to_have_the_answer():
    gate = Gate()
    user = PlainUser(["hi", "/answer"])
    presses = stopped_in_thought(user)
    with FakeServer([Think("hm "), Think("hm"), gate], [Say("Yes."), End()]) as server:
        presses.start()
        user.run(ChatSetup("F", FakeHosts(server.url), Options(), context=4096))
        presses.join()
        gate.open()
        assert server.requests[1]["continue_final_message"]
    assert "Stopped. /answer has the answer now.\n" in user.text
    assert "Yes.\n" in user.text


def test_a_server_that_cannot_end_the_thinking_is_stopped_and_writes_on(monkeypatch):
    gate = Gate()
    obeyed: list[bool] = []
    monkeypatch.setattr(
        Keyboard, "take_waiting", lambda board: () if obeyed or board.parts else ("/answer",)
    )
    monkeypatch.setattr(Keyboard, "forget_last", lambda _: obeyed.append(True))
    user = PlainUser(["hi"])
    with FakeServer([Think("hm "), Think("hm"), gate], [Say("Yes."), End()]) as server:
        user.run(ChatSetup("F", FakeHosts(server.url), Options(), context=4096))
        gate.open()
        assert server.controls, "it was told to end the thinking first"
        assert server.requests[1]["continue_final_message"]
    assert "Yes.\n" in user.text
    assert "Stopped." not in user.text
