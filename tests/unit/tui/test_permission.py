"""The panel that asks whether a tool may run, and /mcp, under Textual's pilot."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest
from rich.cells import cell_len
from textual import events

from runner.base import paths
from runner.chat.tools.mcp.box import AskedCall
from runner.chat.tools.mcp.offers import Offer
from runner.chat.tools.mcp.permissions import Answer, Decision
from runner.chat.tools.toolbox import Tool
from runner.chat.turn import TurnState
from runner.tui.wings import mcp_servers, permission, server_wait
from runner.tui.wings.mcp_servers import McpServers
from runner.tui.wings.permission import Permission, folded
from tests.fakes import bad_mcp_server, sse_server
from tests.fakes.sse_server import End, Say
from tests.unit.tui.test_app import chat, loaded, user_home  # noqa: F401 - a fixture

GOOD = str(Path(bad_mcp_server.__file__).with_name("mcp_server.py"))
HOSTILE = {
    "path": "\u202e/etc/passwd\u202c\x1b[2J",
    "[bold]markup[/]": "[@click=app.quit]x[/]",
    "zero\u200bwidth": "\u00a0",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(permission, "QUIET_S", 0.0)


def asked(arguments=None, **more):
    tool = Tool("files__read_file", "Read a file.", {}, "files")
    return AskedCall("files", Offer(tool, "read_file", "f" * 64), arguments or {}, **more)


async def begin(c, arguments=None, **more):
    task = asyncio.create_task(c.app.wing(Permission).ask(asked(arguments, **more)))
    await c.sees("files__read_file wants to run", "(n)")
    await c.pilot.pause()
    return task


async def alt_p(c):
    c.app.post_message(events.Key("alt+p", "p"))  # as the terminal's own parser makes it
    await c.pilot.pause()


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("y", Answer.ONCE),
        ("Y", Answer.ONCE),
        ("a", Answer.ALWAYS),
        ("n", Answer.NEVER),
        ("escape", Answer.NOT_NOW),
    ],
)
async def test_a_key_answers(key, answer):
    async with chat() as c:
        task = await begin(c, {"path": "/home/me/a.txt"})
        await c.sees('{"path": "/home/me/a.txt"}')
        await c.pilot.press(key, *([] if key == "escape" else ["enter"]))
        assert await task == answer
        await c.gone("wants to run")
        assert c.app.composer.prompt.has_focus
        assert c.app.composer.text == ""


@pytest.mark.parametrize("word", ["yes please", "any", "no", "aye", "very good", "Yankee"])
async def test_a_message_that_begins_like_an_answer_is_a_message(word):
    async with chat() as c:
        task = await begin(c)
        for letter in word:
            await c.pilot.press("space" if letter == " " else letter)
        await c.until(lambda: c.app.composer.text == word)
        assert c.app.composer.prompt.has_focus
        assert not task.done()
        task.cancel()


async def test_a_letter_picks_and_only_enter_answers():
    async with chat() as c:
        task = await begin(c)
        await c.pilot.press("enter")
        assert not task.done(), "nothing is picked"
        await c.pilot.press("n")
        await c.sees("(press Enter)")
        await c.pilot.press("backspace")
        await c.sees("(then Enter)")
        await c.pilot.press("enter")
        assert not task.done()
        await c.pilot.press("y")
        task.cancel()  # the answer was stopped meanwhile
        await c.gone("wants to run")
        await c.until(lambda: c.app.composer.text == "y")


async def test_a_paste_behind_a_letter_keeps_both():
    async with chat() as c:
        task = await begin(c)
        await c.pilot.press("a")
        c.app.post_message(events.Paste("nd more"))
        await c.until(lambda: c.app.composer.text == "and more")
        assert not task.done()
        task.cancel()


async def test_a_click_answers_while_the_user_writes():
    async with chat() as c:
        await c.type("and", "space")
        task = await begin(c)
        await c.click("Once")
        assert await task is Answer.ONCE
        assert c.app.composer.text == "and "


async def test_a_click_answers():
    async with chat() as c:
        task = await begin(c)
        await c.click("Never")
        assert await task is Answer.NEVER


async def test_keys_that_come_too_soon_are_the_users_typing(monkeypatch):
    monkeypatch.setattr(permission, "QUIET_S", 1000.0)
    async with chat() as c:
        task = await begin(c)
        await c.pilot.press("a")
        await c.until(lambda: c.app.composer.text == "a")
        assert c.app.composer.prompt.has_focus
        await c.pilot.press("y")
        await c.until(lambda: c.app.composer.text == "ay")
        await c.sees("(press Alt+P first)")
        await c.click("Once")
        await c.pilot.pause(0.1)
        assert not task.done()
        monkeypatch.setattr(permission, "QUIET_S", 0.0)
        places = c.screen().index("Never"), c.screen().index("Show all")
        await alt_p(c)
        await c.gone("(press Alt+P first)")
        assert places == (c.screen().index("Never"), c.screen().index("Show all"))
        await c.pilot.press("y", "enter")
        assert await task is Answer.ONCE
        assert c.app.composer.text == "ay"


async def test_a_word_that_comes_at_once_is_all_the_users():
    async with chat() as c:
        task = await begin(c)
        for letter in "one any":  # faster than the focus moves, as with a slow connection
            c.app.post_message(events.Key("space" if letter == " " else letter, letter))
        await c.until(lambda: c.app.composer.text == "one any")
        assert not task.done()
        await alt_p(c)
        await c.pilot.press("y", "enter")
        assert await task is Answer.ONCE


async def test_whoever_writes_writes_on():
    async with chat() as c:
        await c.type("and", "space")
        task = await begin(c)
        await c.pilot.press("y", "a", "n")
        await c.until(lambda: c.app.composer.text == "and yan")
        assert not task.done()
        await alt_p(c)
        await c.pilot.press("x")  # no answer: the user goes on
        await c.until(lambda: c.app.composer.text == "and yanx")
        await alt_p(c)
        await c.pilot.press("enter")
        assert not task.done()
        await c.pilot.press("n", "enter")
        assert await task is Answer.NEVER


async def test_a_paste_is_the_users_and_page_up_scrolls():
    async with chat(resume=loaded(30)) as c:
        task = await begin(c)
        await c.until(lambda: c.app.transcript.is_vertical_scroll_end)
        await c.pilot.press("pageup")
        await c.until(lambda: not c.app.transcript.is_vertical_scroll_end)
        c.app.post_message(events.Paste("yes, always"))
        await c.until(lambda: c.app.composer.text == "yes, always")
        assert not task.done()
        task.cancel()


async def test_what_is_cancelled_is_asked_no_more():
    async with chat() as c:
        task = await begin(c)
        task.cancel()
        await c.gone("wants to run")
        assert c.app.composer.prompt.has_focus
        await alt_p(c)
        await c.sees("No tool asks for permission.")


async def test_hostile_arguments_are_shown_as_they_are():
    async with chat(size=(180, 30)) as c:
        task = await begin(c, HOSTILE)
        screen = c.screen()
        assert r"\u202e/etc/passwd\u202c\u001b[2J" in screen
        assert "[bold]markup[/]" in screen
        assert "[@click=app.quit]x[/]" in screen
        assert r"zero\u200bwidth" in screen
        assert r"\u00a0" in screen
        await c.click("[@click=app.quit]x[/]")
        assert not task.done()
        task.cancel()


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 50)])
async def test_long_arguments_are_folded_and_can_be_read_to_the_end(size):
    arguments = {"text": "word " * 3000 + "the end", "more": list(range(50))}
    async with chat(size=size) as c:
        task = await begin(c, arguments)
        await c.reads("more characters: v and Enter show all")
        lines = c.screen().split("\n")
        assert all(cell_len(line) <= size[0] for line in lines)
        await c.reads("(y)", "(a)", "(n)", "(Esc)", "(v)")
        await c.pilot.press("v", "enter")
        await c.sees("of the MCP")
        await c.pilot.press("y")
        assert not task.done()
        await c.pilot.press("end")
        await c.reads("Read a file.")
        await c.pilot.press("escape")
        await c.sees("wants to run")
        assert not task.done()
        await c.pilot.press("y", "enter")
        assert await task is Answer.ONCE


async def test_a_tool_that_has_changed_says_so():
    async with chat() as c:
        task = await begin(c, changed=True)
        await c.reads("It is not the tool that you allowed")
        task.cancel()


def test_folding_says_how_much_is_hidden():
    assert folded({"a": 1}, 40, 2) == ['{"a": 1}']
    assert folded({"a": "x" * 30}, 20, 3) == ['{"a": "xxxxxxxxxxxxx', 'xxxxxxxxxxxxxxxxx"}']
    assert folded({"a": "文" * 7}, 18, 2) == ['{"a": "文文文文文', '文文"}']
    many = folded({"a": ["x"] * 30}, 40, 3)
    assert many[:2] == [
        '{"a": ["x", "x", "x", "x", "x", "x", "x"',
        ', "x", "x", "x", "x", "x", "x", "x", "x"',
    ]
    assert many[2] == "… 77 more characters: v and Enter show all"


# --- /mcp ---------------------------------------------------------------------------------------


def configure(text):
    path = paths.config_dir() / "mcp.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def table(name, *argv, more=""):
    args = ", ".join(f'"{each}"' for each in argv)
    return f'[server.{name}]\ncommand = "{sys.executable}"\nargs = [{args}]\n{more}\n'


async def test_without_a_server_it_says_how_to_configure_one():
    async with chat(size=(100, 40)) as c:
        await c.type("/mcp")
        await c.reads("MCP servers are in a file of yours", "[server.files]", "type /mcp NAME")
        await c.type("/mcp wiki")
        await c.reads("No MCP server is called wiki.", "None is configured yet.")


async def test_a_wrong_file_is_reported():
    configure('[server.files]\ncomand = "npx"\n')
    async with chat() as c:
        await c.type("/mcp")
        await c.reads("cannot be used", "Line 2, server.files.comand")


async def test_a_server_is_switched_on_and_off_and_decisions_are_taken_back():
    configure(table("good", GOOD) + table("other", GOOD, more="enabled = false"))
    async with chat(size=(100, 40)) as c:
        await c.type("/mcp")
        await c.sees("good", "off ·", "off, and disabled", "How to add a server")
        assert c.app.tools.tools == ()
        await c.pilot.press("enter")
        await c.sees("on · 8 tools", "good__add", "asked each time")
        assert "MCP servers ·" not in c.screen(), "rows are not only servers: they are not counted"
        box = c.app.wing(McpServers).switches.box
        assert box is not None
        fingerprint = box.entries["good"].offers.tools[0].fingerprint
        box.permissions.decide(Decision("good", "add", Answer.ALWAYS, fingerprint))
        box.permissions.decide(Decision("gone", "x", Answer.NEVER, ""))
        await c.pilot.press("escape")
        await c.type("/mcp")
        await c.sees("always allowed", "x of gone, which is off", "never allowed")
        await c.pilot.press("down", "enter")
        await c.gone("always allowed")
        await c.pilot.press("up", "enter")
        await c.gone("good__add")
        await c.pilot.press("escape")
        await c.type("/mcp other")
        await c.reads("The MCP server other is disabled.", "enabled = false")


async def test_servers_are_switched_on_in_the_order_in_which_they_are_named():
    configure("".join(table(name, GOOD) for name in ("d", "c", "b", "a")))
    async with chat(mcp=("d", "b", "c", "a")) as c:
        while len(c.app.tools.tools) < 32:
            await c.pilot.pause(0.05)
        sources = dict.fromkeys(tool.source for tool in c.app.tools.tools)
        assert "".join(sources) == "dbca"
        box = c.app.wing(McpServers).switches.box
        assert [box] == [each for each in c.app.tools._boxes if isinstance(each, type(box))]


def offered(c):
    return [tool["function"]["name"] for tool in c.server.requests[0].get("tools", [])]


async def test_a_message_waits_for_the_servers_that_are_starting():
    configure(table("good", GOOD))
    async with chat([Say("Yes."), End()], mcp=("good",)) as c:
        await c.type("can you add?")
        await c.sees("waits for the MCP server good", "Esc sends it without its tools")
        await c.sees("Yes.")
        await c.gone("waits for")
        assert "good__add" in offered(c)
        assert len(c.server.requests) == 1


@pytest.mark.parametrize("by", ["escape", "time"])
async def test_a_message_does_not_wait_for_ever(by, monkeypatch):
    configure(table("slow", bad_mcp_server.__file__, "hang"))
    monkeypatch.setattr(mcp_servers, "START_S", 0.0)
    async with chat([Say("Yes."), End()], mcp=("slow",)) as c:
        if by == "time":
            monkeypatch.setattr(server_wait, "WAIT_S", 0.3)
        await c.type("hello")
        if by == "escape":
            await c.sees("waits for the MCP server slow", "waiting for the MCP server slow …")
            await c.pilot.press("escape")
        await c.sees("Sent without the MCP server slow")
        await c.sees("Yes.")
        assert "waits for" not in c.screen()
        assert offered(c) == []


async def test_a_message_that_waits_for_a_server_can_be_stopped_and_is_saved(monkeypatch):
    configure(table("slow", bad_mcp_server.__file__, "hang"))
    monkeypatch.setattr(mcp_servers, "START_S", 0.0)
    async with chat([Say("Yes."), End()], mcp=("slow",)) as c:
        await c.type("hello")
        await c.sees("waits for the MCP server slow")
        session = c.app.conversation.session
        await c.until(session.path.is_file)
        await c.pilot.press("ctrl+c")
        await c.ready()
        assert c.turn.phase is TurnState.STOPPED
        assert "waits for" not in c.screen()
        assert not c.server.requests
    session.read()
    assert session.entries[0].message.text == "hello"


async def test_a_server_that_fails_holds_nothing_back():
    configure(table("bad", bad_mcp_server.__file__, "garbage"))
    async with chat([Say("Yes."), End()], mcp=("bad", "none")) as c:
        await c.type("hello")
        await c.sees("Yes.")
        assert offered(c) == []


def test_servers_are_told_in_words():
    assert server_wait.servers_text(["a"]) == "the MCP server a"
    assert server_wait.servers_text(["a", "b", "c"]) == "the MCP servers a, b and c"
    assert server_wait.servers_text(list("abcde")) == "the MCP servers a, b, c and 2 more"


async def test_a_server_that_ends_says_why():
    configure(table("bad", bad_mcp_server.__file__, "garbage"))
    async with chat(mcp=("bad",)) as c:
        await c.reads("The MCP server bad has ended.", "no MCP messages", "type /mcp bad")
        await c.type("/mcp")
        await c.reads("bad has ended. What it writes", "starts it again.")


async def test_an_answer_asks_and_runs_with_a_real_server():
    configure(table("good", GOOD))
    from runner.chat.tools.toolbox import Call

    before = {each.pid for each in psutil.Process().children()}  # of other tests
    async with chat(mcp=("good",)) as c:
        await c.reads("good is on: 8 tools")
        box = c.app.tools
        task = asyncio.create_task(box.run(Call("1", "good__add", '{"a": 1, "b": 2}'), ()))
        await c.sees("good__add wants to run", '{"a": 1, "b": 2}')
        await c.pilot.press("a", "enter")
        assert (await task).text == "3"
        assert (await box.run(Call("2", "good__add", '{"a": 2, "b": 2}'), ())).text == "4"
        assert {each.pid for each in psutil.Process().children()} - before
    assert not {each.pid for each in psutil.Process().children()} - before  # it ends with the chat


async def test_an_answer_calls_a_tool_of_a_server_and_goes_on_with_its_result():
    configure(table("good", GOOD))
    call = sse_server.Call("good__add", '{"a": 2, "b": 40}')
    script: list[sse_server.Step] = [call, End("tool_calls")]
    async with chat(script, [Say("It is 42."), End()], mcp=("good",)) as c:
        await c.reads("good is on: 8 tools")
        await c.type("add them")
        await c.pilot.press("enter")
        await c.sees("good__add wants to run", "waits for your permission", "a tool asks")
        await c.pilot.press("y", "enter")
        await c.sees("It is 42.")
        assert c.server.requests[1]["messages"][-1]["content"] == "42"
