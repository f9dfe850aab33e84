"""The wings under Textual's pilot: queue, history, editor, copying, saving, looks."""

import asyncio
import json
import sys
from functools import partial

import pytest

from runner.base import paths
from runner.base.errors import SteprunError
from runner.chat.sessions.store import Session
from runner.chat.wire import Options
from runner.tui.background import Background
from runner.tui.chooser import Choice, Chooser, matching, row
from runner.tui.settings import SCHEMA, ChatSettings, SettingsFile
from runner.tui.wings.sending import WAITING, waiting_row
from tests.fakes.sse_server import Die, End, Gate, Say, Think
from tests.unit.tui.test_app import chat, picture, user_home  # noqa: F401 - a fixture

CODE = "Here:\n\n```python\nx = 1\n```\n\nand\n\n```\nlast\n```\n"


COPIES = {
    "/copy": "Short.",
    "/copy answer": "Short.",
    "/copy code": "last",
    "/copy thinking": "deep",
}


def _is(c, copied):
    return c.app.clipboard == copied


# --- messages that wait -----------------------------------------------------------------------


async def test_a_message_waits_for_the_answer_to_end(tmp_path):
    gate = Gate()
    async with chat(
        [Say("A part"), gate, End()], [Say("Second."), End()], [Say("3rd."), End()]
    ) as c:
        await c.type("hi")
        await c.sees("A part")
        await c.type("and then?")
        await c.sees("next: and then?", "Esc takes it back")
        assert c.app.composer.text == ""
        await c.paste(str(picture(tmp_path)))
        await c.sees("[Image #1]")
        await c.type("what is it?")
        await c.sees("next: and then?", "next: 1 image · what is it?")
        assert len(c.server.requests) == 1
        gate.open()
        await c.sees("Second.", "3rd.")
        await c.ready()
        assert "next:" not in c.screen()
        texts = [turn.text for turn in c.app.conversation.turns]
        assert texts == ["hi", "and then?", "what is it?"]
        assert len(c.app.conversation.turns[2].pictures) == 1


async def test_esc_takes_back_what_waits_and_then_stops():
    gate = Gate()
    async with chat([Say("A part"), gate, End()]) as c:
        await c.type("hi")
        await c.sees("A part")
        await c.type("one")
        await c.type("two")
        await c.type("typed", "space")
        await c.pilot.press("escape")
        await c.until(lambda: c.app.composer.text == "two\ntyped ")
        assert c.app.busy
        await c.pilot.press("escape")
        await c.until(lambda: c.app.composer.text == "one\ntwo\ntyped ")
        assert "next:" not in c.screen()
        await c.pilot.press("escape")
        await c.sees("stopped")
        gate.open()


async def test_what_waits_comes_back_when_the_answer_is_stopped_or_fails():
    gate = Gate()
    async with chat([Say("A part"), gate, Die()]) as c:
        await c.type("hi")
        await c.sees("A part")
        await c.type("and then?")
        await c.sees("next:")
        gate.open()
        await c.until(lambda: c.app.composer.text == "and then?")
        assert "next:" not in c.screen()
        assert len(c.server.requests) == 1


async def test_what_waits_is_kept_as_a_draft():
    gate = Gate()
    async with chat([Say("A part"), gate, End()]) as c:
        await c.type("hi")
        await c.sees("A part")
        await c.type("one")
        await c.type("two", "space")
        c.app.unsent.keep()
        session = c.app.conversation.session
        await c.pilot.press("ctrl+q")
        gate.open()
    draft = session.draft()
    assert draft is not None
    assert draft.text == "one\ntwo "


async def test_a_message_after_one_that_waits_for_the_engine_waits_too():
    gate = asyncio.Event()
    async with chat([Say("One."), End()], [Say("Two."), End()], gate=gate) as c:
        await c.sees("loading")
        await c.type("first")
        await c.sees("Not sent yet")
        await c.type("second")
        await c.sees("next: second")
        gate.set()
        await c.sees("One.", "Two.")


async def test_a_failed_load_gives_everything_back_in_order():
    gate = asyncio.Event()
    async with chat(gate=gate, fails=SteprunError("Bad luck.")) as c:
        await c.sees("loading")
        await c.type("first")
        await c.type("second")
        await c.sees("next: second")
        gate.set()
        await c.sees("Bad luck.")
        await c.until(lambda: c.app.composer.text == "first\nsecond")


async def test_only_so_many_messages_wait():
    gate = Gate()
    async with chat([Say("A part"), gate, End()], size=(60, 12)) as c:
        await c.type("hi")
        await c.sees("A part")
        for number in range(WAITING + 1):
            await c.type(f"message {number}")
        await c.sees("messages are waiting", "(and 9 before it)")
        assert c.app.composer.text == f"message {WAITING}"
        c.app.waiting.clear()
        gate.open()
        await c.ready()


def test_the_row_of_a_waiting_message():
    assert waiting_row("two\nlines", ()) == "↳ next: two lines"


# --- choosing ---------------------------------------------------------------------------------


def test_a_choice_has_to_contain_every_word():
    choices = [Choice("Red apple", 1), Choice("green APPLE", 2, "red"), Choice("pear", 3)]
    assert [each.value for each in matching(choices, "apple red")] == [1, 2]
    assert [each.value for each in matching(choices, " ")] == [1, 2, 3]


@pytest.mark.parametrize("text", ["short", "long " * 90, "\u6f22\u5b57" * 40, "", "[b]\x1b[2J\n"])
@pytest.mark.parametrize("room", [20, 40, 79])
def test_a_row_fits_and_keeps_a_short_detail(text, room):
    line = row(Choice(text, 1, "detail"), room)
    assert line.plain.endswith("  detail")
    assert line.cell_length <= room
    assert "\x1b" not in line.plain
    odd = row(Choice("a\x1b[2Jb", 1, "c\x1b]52;c;AA\x07 \u202ed"), 80).plain
    assert odd.isprintable(), "a terminal obeys nothing of what a chat says"
    line = row(Choice(text, 1, "a long detail " * 9), room)
    assert line.cell_length <= room
    assert line.plain[:4] == row(Choice(text, 1), room).plain[:4]


@pytest.mark.parametrize("size", [(100, 30), (40, 10)])
async def test_an_earlier_message_is_found_again(size):
    async with chat(size=size) as c:
        for text in ("tell me of apples", "and of pears", "[b]bold[/b]"):
            await c.type(text)
            await c.ready()
        await c.pilot.press("ctrl+r")
        await c.sees("Earlier messages · 3", "[b]bold[/b]", "Enter chooses")
        await c.pilot.press("down", "up", "down", "down", "pageup", *"apple")
        await c.sees("1 of 3")
        await c.pilot.press("enter")
        await c.until(lambda: c.app.composer.text == "tell me of apples")
        c.app.composer.prompt.clear()
        await c.type("/history zebra")
        await c.sees("0 of 3")
        await c.pilot.press("enter", "escape")
        await c.until(lambda: not isinstance(c.app.screen, Chooser))


async def test_without_history_it_says_so():
    async with chat() as c:
        await c.pilot.press("ctrl+r")
        await c.sees("No earlier message")


# --- copying ----------------------------------------------------------------------------------


async def test_code_thinking_and_answers_are_copied():
    async with chat([Think("deep"), Say(CODE), End()], [Say("Short."), End()]) as c:
        await c.type("/copy code")
        await c.sees("No code block to copy.")
        await c.pilot.press("f2")
        await c.sees("Nothing to copy yet.")
        for text in ("hi", "again"):
            await c.type(text)
            await c.ready()
        for command, copied in COPIES.items():
            await c.type(command)
            await c.until(partial(_is, c, copied))
        await c.type("/copy socks")
        await c.sees("'socks' cannot be copied", "/copy thinking")
        assert c.app.composer.text == "/copy socks"
        await c.pilot.press("f2")
        await c.sees("Copy · 5", "code · python · 1 line")
        await c.pilot.press(*"code", "space", *"pyt", "enter")
        await c.until(lambda: c.app.clipboard == "x = 1")


# --- saving -----------------------------------------------------------------------------------


async def test_a_chat_is_saved_as_its_ending_says(tmp_path):
    async with chat([Say("**Fine.**"), End()]) as c:
        await c.paste(str(picture(tmp_path)))
        await c.sees("[Image #1]")
        await c.type("hi")
        await c.ready()
        await c.type(f"/save {tmp_path / 'a.html'}")
        await c.sees("Saved to")
        page = (tmp_path / "a.html").read_text()
        assert "<strong>Fine.</strong>" in page
        assert 'src="data:image/png;base64,' in page
        await c.type(f"/save {tmp_path / 'a.JSON'}")
        await c.until((tmp_path / "a.JSON").exists)
        assert json.loads((tmp_path / "a.JSON").read_text())["turns"][0]["answer"] == "**Fine.**"
        await c.type(f"/save {tmp_path / 'a.pdf'}")
        await c.sees("cannot be saved as .pdf", "one of these endings")
        assert c.app.composer.text == f"/save {tmp_path / 'a.pdf'}"


# --- the editor -------------------------------------------------------------------------------


async def test_a_message_is_written_in_the_editor(tmp_path, monkeypatch):
    script = tmp_path / "edit.py"
    script.write_text(
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]);"
        "p.write_text(p.read_text() + ' and more\\x1b[2J')"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    monkeypatch.setattr("textual.drivers.headless_driver.HeadlessDriver.can_suspend", True)
    async with chat() as c:
        await c.type("half a thought", "ctrl+g")
        await c.until(lambda: c.app.composer.text == "half a thought and more[2J")
        await c.sees("half a thought and more[2J")


async def test_where_no_editor_can_open_it_says_so(monkeypatch):
    monkeypatch.setenv("VISUAL", "no-such-editor")
    async with chat() as c:
        await c.type("text", "ctrl+g")
        await c.sees("The editor cannot be started.", "VISUAL names 'no-such-editor'")
        monkeypatch.setenv("VISUAL", sys.executable)
        await c.pilot.press("ctrl+g")
        await c.sees("cannot be opened here")
        assert c.app.composer.text == "text"


# --- what is remembered -----------------------------------------------------------------------


async def test_choices_are_remembered():
    async with chat() as c:
        await c.type("/theme nord")
        await c.until(lambda: SettingsFile().now.theme == "nord")
        await c.pilot.press("shift+tab")
        await c.sees("Reasoning effort: low")
        await c.pilot.press("ctrl+t")
        await c.until(lambda: SettingsFile().now == ChatSettings("nord", "open", "low"))
        await c.type("/theme no-such")
        await c.sees("No theme is called no-such")
    async with chat([Think("deep"), Say("So."), End()], [Say("Yes."), End()]) as c:
        assert c.app.theme == "nord"
        await c.type("hi")
        await c.sees("deep", "So.")
        await c.ready()
        assert c.server.requests[0]["reasoning_effort"] == "low"
        await c.pilot.press("ctrl+t")
        await c.type("/effort default")
        await c.sees("Reasoning effort: default")
        await c.until(lambda: SettingsFile().now == ChatSettings("nord", "closed", ""))
        await c.type("again")
        await c.ready()
        assert "reasoning_effort" not in c.server.requests[1]
    gate = Gate()
    async with chat([Think("deep"), gate, Say("So."), End()]) as c:
        await c.type("hi")
        await c.sees("▸ thinking")
        assert "deep" not in c.screen()
        gate.open()
        await c.ready()


async def test_what_the_command_line_says_comes_first():
    SettingsFile().choose(effort="high")
    settings = SettingsFile()
    settings.choose(effort="high", thinking="closed")
    settings.write()
    async with chat([Think("deep"), Say("So."), End()], options=Options(effort="low"),
                    show_thinking=True) as c:  # fmt: skip
        await c.type("hi")
        await c.sees("deep", "So.")
        assert c.server.requests[0]["reasoning_effort"] == "low"


async def test_settings_that_cannot_be_used_are_reported():
    paths.config_dir().mkdir(parents=True)
    file = paths.config_dir() / "chat.json"
    file.write_text('{"schema": "steprun.chat/9"}')
    async with chat() as c:
        await c.sees("nothing is remembered", "steprun.chat/9")
        await c.type("/theme nord")
        await c.until(lambda: c.app.theme == "nord")
    assert file.read_text() == '{"schema": "steprun.chat/9"}'


async def test_settings_that_cannot_be_written_are_reported_once(monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    async with chat() as c:
        with monkeypatch.context() as patch:
            patch.setattr("runner.base.files.os.fsync", full)
            await c.type("/effort low")
            await c.reads("No space left on device")
        assert c.app.options.effort == "low"


@pytest.mark.parametrize(
    ("chosen", "light", "theme"),
    [
        ("", True, "textual-light"),
        ("", False, "textual-dark"),
        ("", None, "textual-dark"),
        ("nord", True, "nord"),
        ("no-such-theme", True, "textual-light"),
    ],
)
async def test_the_theme_fits_the_terminal_unless_one_was_chosen(monkeypatch, chosen, light, theme):
    if chosen:
        paths.config_dir().mkdir(parents=True)
        (paths.config_dir() / "chat.json").write_text(
            json.dumps({"schema": SCHEMA, "theme": chosen})
        )
    monkeypatch.setattr("runner.tui.app.Background", lambda: Background(light, "typed early"))
    async with chat() as c:
        assert c.app.theme == theme
        assert c.app.composer.text == "typed early"
        await c.pilot.pause(0.3)
    assert SettingsFile().now.theme == chosen


async def test_a_session_is_left_as_it_was_by_what_is_only_looked_at():
    async with chat() as c:
        await c.pilot.press("f1", "escape", "ctrl+r", "f2")
    assert not Session(c.app.conversation.session.id).path.exists()


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
async def test_the_help_is_read_to_its_end_by_keys(size):
    async with chat(size=size) as c:
        await c.pilot.press("f1")
        await c.sees("Message", "Enter", "send")
        for _ in range(30):
            if "Esc closes this." in c.screen():
                break
            await c.pilot.press("pagedown")
        await c.sees("Esc closes this.", "end the chat")
        await c.pilot.press("escape", "x")
        await c.until(lambda: c.app.composer.text == "x")
