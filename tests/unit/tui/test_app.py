"""The chat under Textual's pilot, against the fake server and the fake host."""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from textual import events
from textual.command import CommandList
from textual.pilot import Pilot

from runner.base.errors import Exit, Refused, SteprunError
from runner.base.files import write_private
from runner.base.loaded import Loaded
from runner.chat.conversation import Conversation
from runner.chat.dialect import OPENAI
from runner.chat.export import TIMES
from runner.chat.host import ChatSetup, NeedsTerminal
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.store import Session
from runner.chat.turn import TurnState
from runner.chat.wire import Message, Options
from runner.tui.app import ChatApp
from runner.tui.help import HelpScreen
from runner.tui.transcript import Transcript
from runner.tui.wings.saving import Saving
from tests.fakes.sse_server import (
    Call,
    Die,
    End,
    FakeHosts,
    FakeServer,
    Gate,
    Read,
    Refuse,
    Say,
    Step,
    Think,
)

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@dataclass
class Chat:
    """A running chat and what it talks to."""

    app: ChatApp
    pilot: Pilot[None]
    server: FakeServer
    hosts: FakeHosts

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never came to be:\n{self.screen()}"
            await self.pilot.pause(0.01)

    async def sees(self, *texts: str) -> None:
        await self.until(lambda: all(text in self.screen() for text in texts))

    async def reads(self, *texts: str) -> None:
        """Wait until the screen has sentences, wherever they are broken into lines."""

        def words() -> str:
            return " ".join(self.screen().replace("\N{LEFT HALF BLOCK}", " ").split())

        await self.until(lambda: all(text in words() for text in texts))

    async def gone(self, text: str) -> None:
        await self.until(lambda: text not in self.screen())

    def screen(self) -> str:
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in lines)

    async def type(self, text: str, *keys: str) -> None:
        self.app.composer.insert(text)
        await self.pilot.press(*keys or ("enter",))

    async def paste(self, text: str) -> None:
        self.app.composer.prompt.post_message(events.Paste(text))
        await self.pilot.pause()

    async def click(self, text: str, which: int = 0) -> None:
        """Click on a text of the screen; `which` of its lines."""
        lines = [(y, line.find(text)) for y, line in enumerate(self.screen().split("\n"))]
        y, x = [(y, x) for y, x in lines if x >= 0][which]
        await self.pilot.click(offset=(x, y))

    async def drag(self, begin: tuple[int, int], end: tuple[int, int]) -> None:
        await self.pilot.mouse_down(offset=begin)
        await self.pilot.hover(offset=end)
        await self.pilot.mouse_up(offset=end)

    async def ready(self) -> None:
        await self.until(lambda: self.app.host_task.alive() and not self.app.busy)

    @property
    def turn(self):
        return self.app.conversation.turns[-1]


@contextlib.asynccontextmanager
async def chat(
    *scripts: Sequence[Step],
    size: tuple[int, int] = (100, 30),
    gate: asyncio.Event | None = None,
    **more: Any,
) -> AsyncIterator[Chat]:
    with FakeServer(*scripts) as server:
        hosts = FakeHosts(server.url, gate=gate)
        fails = more.pop("fails", None)
        hosts.dies_loading = fails
        defaults = {"options": Options(), "context": 4096, "sees": True}
        app = ChatApp(ChatSetup("Fake 1B", hosts, **{**defaults, **more}))
        async with app.run_test(size=size) as pilot:
            talk = Chat(app, pilot, server, hosts)
            if gate is None and fails is None:
                await talk.ready()
            yield talk
        assert all(host.left for host in hosts.opened)


def picture(folder: Path, name: str = "cat.png") -> Path:
    path = folder / name
    Image.new("RGB", (1024, 768), "red").save(path)
    return path


def loaded(size: int) -> str:
    """Make a session of `size` turns; return its id."""
    session = Session.create("Fake 1B")
    lines: list[dict[str, str]] = []
    for number in range(size):
        lines.append({"role": "user", "text": f"question {number}"})
        thought = {"reasoning": f"thought {number}"}
        lines.append({"role": "assistant", "text": f"answer **{number}**", **thought})
    session.add(SessionEntry(Message("user", "question -1")))
    with session.path.open("a") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in lines)
    return session.id


# --- answers ----------------------------------------------------------------------------------


async def test_an_answer_streams_and_is_frozen():
    gate = Gate()
    async with chat([Read(10, 20), Say("Hello **wor"), gate, Say("ld**, all."), End()]) as c:
        await c.type("hi there")
        await c.sees("hi there", "Hello", "answering")
        gate.open()
        await c.sees("Hello world, all.", "31.2 tokens/s", "25 / 4,096 (1 %)", "ready")
        assert c.server.requests[0]["messages"] == [{"role": "user", "content": "hi there"}]
        saved = Session.load(c.app.conversation.session.id)
        assert [e.message.text for e in saved.entries] == ["hi there", "Hello **world**, all."]


async def test_the_prompt_is_read_before_the_answer():
    gate = Gate()
    async with chat([Read(43, 100), gate, Say("x"), End()]) as c:
        await c.type("hi")
        await c.sees("prefill 43 of 100")
        gate.open()
        await c.ready()


async def test_the_second_question_carries_the_first():
    async with chat([Think("hm"), Say("one"), End()], [Say("two"), End()]) as c:
        await c.type("a")
        await c.sees("one")
        await c.ready()
        await c.type("b")
        await c.sees("two")
        assert [m["content"] for m in c.server.requests[1]["messages"]] == ["a", "one", "b"]


async def test_esc_stops_and_keeps_the_part_that_came():
    gate = Gate()
    async with chat([Say("A part"), gate]) as c:
        await c.type("hi")
        await c.sees("A part")
        await c.pilot.press("escape")
        await c.sees("stopped", "A part")
        await c.until(c.server.hung_up.is_set)
        assert c.turn.phase is TurnState.STOPPED
        entry = Session.load(c.app.conversation.session.id).entries[-1]
        assert (entry.message.text, entry.stopped) == ("A part", True)
        gate.open()


async def test_thinking_is_apart_and_folds_when_the_answer_starts():
    thinks, answers = Gate(), Gate()
    script: list[Step] = [Think("deep thou"), Think("ghts"), thinks, Say("So."), answers, End()]
    async with chat(script, [Think("more"), Say("Yes."), End()]) as c:
        await c.type("hi")
        await c.sees("▾ thinking · 2 tokens", "deep thoughts")
        thinks.open()
        await c.sees("▸ thought · 2 tokens", "So.")
        assert "deep thoughts" not in c.screen()
        await c.pilot.press("ctrl+t")
        await c.sees("▾ thought", "deep thoughts")
        answers.open()
        await c.ready()
        await c.type("again")
        await c.sees("Yes.", "more")  # the choice is kept
        await c.type("/think")
        await c.gone("deep thoughts")


async def test_thinking_whose_first_tag_is_missing_moves_out_of_the_answer():
    thinks, answers = Gate(), Gate()
    script: list[Step] = [Say("deep thoughts"), thinks, Say("</think>\nSo."), answers, End()]
    async with chat(script) as c:
        await c.type("hi")
        await c.sees("deep thoughts")
        thinks.open()
        await c.gone("deep thoughts")
        await c.sees("So.")
        answers.open()
        await c.ready()


async def test_thinking_that_uses_up_the_budget_says_so():
    async with chat([Think("on and on"), End("length")]) as c:
        await c.type("hi")
        await c.reads("the token limit (--max-tokens) ended it before the answer")


async def test_nothing_in_an_answer_is_obeyed():
    text = "[red]markup[/red] [@click=app.quit]x[/] \x1b[31mansi\x1b[0m\x07 end"
    async with chat([Think(text), Say(text), End()], show_thinking=True) as c:
        await c.type("[b]me[/b]")
        await c.sees("[red]markup[/red] [@click=app.quit]x[/] [31mansi[0m end", "[b]me[/b]")
        assert c.screen().count("[red]markup[/red]") == 2
        assert "\x1b" not in c.screen()


async def test_a_long_answer_is_one_widget():
    gate = Gate()
    blocks: list[Step] = [Say(f"Paragraph {n} of a long answer.\n\n") for n in range(400)]
    async with chat([*blocks, gate, Say("The end."), End()]) as c:
        await c.type("hi")
        await c.sees("Paragraph 399")
        assert len(list(c.app.screen.walk_children())) < 30
        gate.open()
        await c.sees("Paragraph 399", "The end.")


async def test_scrolling_up_holds_the_text_still():
    gate = Gate()
    first = [Say(f"line {n}\n\n") for n in range(60)]
    async with chat([*first, gate, Say("the last line"), End()]) as c:
        await c.type("hi")
        await c.sees("line 59")
        await c.pilot.press("pageup")
        await c.gone("line 59")
        assert not c.app.transcript.following
        gate.open()
        await c.ready()
        assert "the last line" not in c.screen()
        await c.pilot.press("ctrl+end")
        await c.sees("the last line")


async def test_a_refusal_is_shown_and_can_be_retried():
    async with chat([Refuse(500, "out of luck")], [Say("Better."), End()]) as c:
        await c.type("hi")
        await c.sees("status 500", "out of luck")
        await c.ready()
        await c.type("/retry")
        await c.sees("Better.")
        await c.gone("out of luck")
        texts = [e.message.text for e in Session.load(c.app.conversation.session.id).entries]
        assert texts == ["hi", "Better."]


# --- the engine -------------------------------------------------------------------------------


async def test_a_message_typed_while_loading_is_sent_when_ready():
    gate = asyncio.Event()
    async with chat([Say("At last."), End()], gate=gate) as c:
        await c.until(lambda: re.search(r"loading … ([3-9]|\d\d+) s", c.screen()))
        await c.type("patience")
        await c.sees("Not sent yet")
        assert not c.server.requests
        gate.set()
        await c.sees("At last.")


async def test_the_window_says_how_far_the_weights_are_loaded():
    gate = asyncio.Event()
    async with chat([Say("At last."), End()], gate=gate) as c:
        await c.sees("loading …")
        await c.until(lambda: c.hosts.opened)
        c.hosts.opened[0].far = Loaded(37 << 30, 100 << 30, rate=2 << 30)
        await c.sees("loading 37 % · 2.00 GiB/s · 32 s left")
        gate.set()
        await c.gone("loading")


async def test_a_waiting_message_can_be_taken_back():
    async with chat(gate=asyncio.Event()) as c:
        await c.sees("loading")
        await c.type("patience")
        await c.sees("Not sent yet")
        await c.pilot.press("escape")
        await c.gone("Not sent yet")
        assert c.app.composer.text == "patience"


async def test_a_failed_load_keeps_what_was_typed():
    gate = asyncio.Event()
    error = Refused("It does not fit.", why="Too large.", next="steprun plan")
    async with chat(gate=gate, fails=error) as c:
        await c.sees("loading")
        await c.type("patience")
        await c.type("and more", "space")
        gate.set()
        await c.sees("It does not fit.", "Too large.", "steprun plan", "no engine")
        assert c.app.composer.text == "patience\nand more "
        await c.pilot.press("ctrl+c", "ctrl+c")
    assert c.app.return_code == Exit.REFUSED
    assert c.app.failure is error
    assert "saved in" in c.app.farewell[0]


async def test_after_a_failed_load_retry_tries_again():
    async with chat(fails=SteprunError("Bad luck.")) as c:
        await c.sees("Bad luck.")
        c.hosts.dies_loading = None
        await c.type("/retry")
        await c.ready()
        await c.gone("Bad luck.")
        await c.pilot.press("ctrl+q")
    assert c.app.return_code == Exit.DONE


async def test_an_engine_that_dies_in_mid_answer():
    gate = Gate()
    async with chat([Say("A part"), gate, Die()], [Say("Alive."), End()]) as c:
        await c.type("hi")
        await c.sees("A part")
        c.hosts.opened[0].dead = SteprunError("The engine was killed.", why="Out of memory.")
        gate.open()
        await c.sees("A part", "The engine was killed.", "Out of memory.", "/retry")
        await c.until(lambda: not c.app.busy and c.app.failure is not None)
        await c.type("/retry")
        await c.sees("Alive.")
        assert [host.left for host in c.hosts.opened] == [True, False]
        assert c.app.failure is None


# --- pictures ---------------------------------------------------------------------------------


async def test_a_picture_becomes_a_chip_and_is_sent(tmp_path):
    path = picture(tmp_path, "my cat.png")
    async with chat() as c:
        await c.paste(str(path).replace(" ", "\\ "))
        chip = f"[Image #1] my cat.png 1024{TIMES}768 · 504 tokens"
        await c.sees(chip)
        await c.type("what is it?")
        await c.sees("what is it?", chip, "thank you")
        image, text = c.server.requests[0]["messages"][0]["content"]
        assert image["image_url"]["url"].startswith("data:image/png;base64,")
        assert text["text"] == "what is it?"
        assert not c.app.composer.pictures


async def test_pictures_are_attached_by_command_by_path_and_from_the_command_line(tmp_path):
    paths = [picture(tmp_path, f"{n}.png") for n in range(3)]
    async with chat(pictures=(paths[0],)) as c:
        await c.sees("[Image #1] 0.png")
        await c.type(f"/image {paths[1]}")
        await c.sees("[Image #2] 1.png")
        await c.type(str(paths[2]))
        await c.sees("[Image #3] 2.png")
        await c.type("/detach 2")
        await c.sees("[Image #2] 2.png")
        await c.pilot.press("backspace")
        await c.gone("[Image #2]")
        assert not c.server.requests


async def test_a_bad_picture_is_an_error_and_nothing_is_lost(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    good = picture(tmp_path)
    async with chat() as c:
        await c.type("half a thought", "space")
        await c.paste(f"'{bad}' '{good}'")
        await c.sees("bad.png cannot be used as an image", "[Image #1] cat.png")
        assert c.app.composer.text == "half a thought "


async def test_a_mistyped_picture_command_is_given_back(tmp_path):
    async with chat() as c:
        await c.type("/image gone.png")
        await c.sees("gone.png cannot be used", "/image gone.png")
        assert c.app.composer.text == "/image gone.png"


async def test_a_chat_that_does_not_see_refuses_early(tmp_path):
    path = picture(tmp_path)
    async with chat(sees=False, blind_why="It has no vision encoder.") as c:
        await c.paste(str(path))
        await c.sees("cannot take images", "It has no vision encoder.")
        assert c.app.composer.text == str(path)


async def test_enter_waits_for_a_picture_that_is_read(tmp_path, monkeypatch):
    path, slow = picture(tmp_path), asyncio.Event()

    async def later(function, *args, **kwargs):
        await slow.wait()
        return function(*args, **kwargs)

    async with chat() as c:
        with monkeypatch.context() as patch:
            patch.setattr("asyncio.to_thread", later)
            await c.paste(str(path))
            await c.type("and this?")
            await c.sees("as soon as the image is loaded")
            assert not c.server.requests
            slow.set()
            await c.sees("thank you")
        assert len(c.server.requests[0]["messages"][0]["content"]) == 2


async def test_a_message_takes_sixteen_pictures(tmp_path):
    paths = [picture(tmp_path, f"{n}.png") for n in range(17)]
    async with chat() as c:
        await c.paste("\n".join(str(path) for path in paths[:9]))
        await c.until(lambda: len(c.app.composer.pictures) == 9)
        await c.paste("\n".join(str(path) for path in paths[9:]))
        await c.sees("can have 16 images")
        assert len(c.app.composer.pictures) == 16


# --- the composer -----------------------------------------------------------------------------


async def test_keys_of_the_composer():
    async with chat() as c:
        await c.type("one", "ctrl+j", "t", "w", "o", "shift+enter", "enter")
        await c.sees("thank you")
        assert c.turn.text == "one\ntwo"
        await c.ready()
        await c.pilot.press("up")
        assert c.app.composer.text == "one\ntwo"
        await c.pilot.press("down")
        assert c.app.composer.text == ""


async def test_a_paste_is_text_and_bounded():
    async with chat() as c:
        await c.paste("two\rlines\x1b[2J")
        await c.until(lambda: c.app.composer.text == "two\nlines[2J")
        await c.paste("x" * ((1 << 20) + 1))
        await c.sees("too long")
        assert c.app.composer.text == "two\nlines[2J"


async def test_a_long_paste_is_folded_sent_whole_and_shown_in_part():
    async with chat() as c:
        await c.paste("some words\n" * 2000)
        await c.sees("[Pasted #1: 2,001 lines]")
        assert c.app.composer.prompt.document.line_count == 1
        await c.type("")
        await c.sees("thank you", "… and 13,999 more characters")
        assert len(c.server.requests[0]["messages"][0]["content"]) == 21_999


async def test_a_long_message_is_recalled_folded():
    long = "word " * 2000 + "end"
    async with chat() as c:
        await c.type("short")
        await c.ready()
        await c.paste(long)
        await c.sees("[Pasted #1")
        await c.pilot.press("enter")
        await c.ready()
        await c.pilot.press("up")
        await c.until(lambda: c.app.composer.text == long)
        assert len(c.app.composer.prompt.text) < 50
        await c.pilot.press("up")
        await c.until(lambda: c.app.composer.text == "short")
        await c.pilot.press("down", "down")
        await c.until(lambda: c.app.composer.text == "")


async def test_folded_pastes_stand_where_they_were_pasted(tmp_path):
    long = [letter * 5000 for letter in "abc"]
    async with chat() as c:
        for text in long:
            await c.paste(text)
            await c.type(" then ", "space")
        assert c.app.composer.prompt.text.endswith("[Pasted #3: 5,000 characters] then  ")
        text = "".join(f"{part} then  " for part in long)
        assert c.app.composer.text == text
        c.app.composer.prompt.select_all()
        await c.pilot.press("backspace", "n", "o")
        assert c.app.composer.text == "no"
        await c.paste(long[0])
        await c.sees("no[Pasted #1: 5,000 characters]")
        await c.pilot.press("ctrl+c", "ctrl+c")
    async with chat(resume=c.app.conversation.session.id) as c:
        await c.sees("[Pasted #1: 5,002 characters]")
        assert c.app.composer.text == f"no{long[0]}"


async def test_below_an_answer_stands_how_its_prompt_was_read():
    first: list[Step] = [Say("One."), End()]
    async with chat(first, [Say("Two."), End(prompt=2000, cached=1000)]) as talk:
        await talk.type("first")
        await talk.sees("One.")
        await talk.ready()
        assert "Read " not in talk.screen()
        why = "the picture in message 1 was replaced"
        talk.server.headers = {"x-steprun-reread": why, "x-steprun-read-rate": "100"}
        await talk.type("second")
        await talk.sees(
            "Read 1,000 of 2,000 tokens, 1,000 from the cache: 10 s saved.", f"Read again: {why}."
        )


async def test_unsent_text_is_kept_and_restored(tmp_path):
    path = picture(tmp_path)
    async with chat() as c:
        await c.paste(str(path))
        await c.sees("[Image #1]")
        await c.type("half a thought", "ctrl+c")
        await c.sees("Ctrl+C again quits")
        await c.pilot.press("ctrl+c")
    session = c.app.conversation.session
    assert str(session.draft_path) in c.app.farewell[0]
    assert c.app.farewell[1] == f"Resume with: steprun chat --resume {session.id}"
    async with chat(resume=session.id) as c:
        await c.sees("half a thought", "[Image #1]")
        await c.type("")
        await c.sees("thank you")
    assert not session.draft_path.exists()


async def test_unsent_text_survives_a_crash(tmp_path):
    async with chat() as c:
        await c.type("half a thought", "space")
        with pytest.raises(RuntimeError):  # noqa: PT012 - the pilot raises it on leaving
            async with contextlib.AsyncExitStack():
                c.app.call_later(_fail)
                await c.until(lambda: c.app._exception is not None)
                raise RuntimeError
        c.app._exception = None
    draft = c.app.conversation.session.draft()
    assert draft is not None
    assert draft.text == "half a thought "
    assert c.app.return_code == Exit.FAILED
    assert "RuntimeError: a mistake" in str(c.app.failure)
    [log] = (tmp_path / "home" / "state" / "logs").glob("error-*.log")
    assert str(log) in str(c.app.failure)
    assert "in _fail" in log.read_text()


def _fail() -> None:
    raise RuntimeError("a mistake")


async def test_ctrl_c_stops_before_it_quits():
    gate = Gate()
    async with chat([Say("A part"), gate]) as c:
        await c.type("hi")
        await c.sees("A part")
        await c.pilot.press("ctrl+c")
        await c.sees("Stopped. Ctrl+C again quits.")
        assert c.app.is_running
        gate.open()


async def test_ctrl_c_copies_what_is_selected():
    async with chat() as c:
        await c.type("some text", "shift+home", "ctrl+c")
        await c.sees("Copied 9 characters.")
        assert c.app.clipboard == "some text"
        assert c.app.composer.text == "some text"


# --- commands ---------------------------------------------------------------------------------


async def test_commands(tmp_path):
    async with chat() as c:
        await c.type("/hepl")
        await c.sees("/hepl is not a command", "/help")
        c.app.composer.prompt.clear()
        await c.type("/effort huge")
        await c.sees("'huge' is not a reasoning effort")
        c.app.composer.prompt.clear()
        await c.type("/effort low")
        await c.sees("Reasoning effort: low")
        await c.type("hi")
        await c.sees("thank you")
        await c.ready()
        assert c.server.requests[0]["reasoning_effort"] == "low"
        await c.type("/copy")
        await c.until(lambda: c.app.clipboard == "Fine, thank you.")
        await c.type(f"/save {tmp_path / 'out.md'}")
        await c.until((tmp_path / "out.md").exists)
        assert "Fine, thank you." in (tmp_path / "out.md").read_text()
        await c.type(f"/save {tmp_path / 'out.md'}")
        await c.sees("already exists")
        c.app.composer.prompt.clear()
        await c.type(f"/save {tmp_path / 'nowhere' / 'out.md'}")
        await c.sees("does not exist", "Choose another file")
        assert not (tmp_path / "nowhere").exists()
        c.app.composer.prompt.clear()
        await c.type("/new")
        await c.gone("thank you")
        assert not c.app.conversation.turns
        await c.type("/help")
        await c.until(lambda: isinstance(c.app.screen, HelpScreen))
        await c.sees("Pictures", "/detach [N]")
        await c.pilot.press("escape")
        await c.until(lambda: not isinstance(c.app.screen, HelpScreen))
        await c.type("/quit")
        await c.until(lambda: not c.app.is_running)
    assert c.app.return_code == Exit.DONE


async def test_a_file_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    saving: set[int] = set()  # threads: drafts, which others save meanwhile, have room

    def full(_):
        if threading.get_ident() in saving:
            raise OSError(28, "No space left on device")

    def write(path, text):
        saving.add(threading.get_ident())
        try:
            write_private(path, text)
        finally:
            saving.clear()

    async with chat() as c:
        await c.type("hi")
        await c.sees("thank you")
        await c.ready()
        with monkeypatch.context() as patch:
            patch.setattr("runner.base.files.os.fsync", full)
            patch.setattr("runner.tui.save_as.write_private", write)
            await c.type(f"/save {tmp_path / 'out.md'}")
            await c.reads("No space left", "Choose another file")
        assert c.app.composer.text == f"/save {tmp_path / 'out.md'}"
        assert not list(tmp_path.glob("*.md"))
        c.app.wing(Saving).save("bad\0name")
        await c.sees("embedded null")  # the rest of the words is of the Python version


async def test_a_chat_continues_where_nothing_can_be_saved(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "data").write_text("a file in the way")
    async with chat() as c:
        await c.sees("This chat is not being saved.")
        await c.type("hi")
        await c.sees("Fine, thank you.")


async def test_the_newest_chat_is_resumed():
    async with chat() as c:
        await c.type("hi")
        await c.sees("thank you")
        await c.ready()
        await c.type("half a thought", "ctrl+q")
    async with chat(resume="latest") as again:
        await again.sees("thank you", "half a thought")
        assert again.app.conversation.session.id == c.app.conversation.session.id


async def test_commands_are_on_the_palette():
    async with chat() as c:
        await c.pilot.press("ctrl+p", *"save")
        await c.sees("/save", "Save the chat to a new file")
        await c.pilot.press("enter", "enter")
        await c.until(lambda: c.app.composer.text == "/save ")


@pytest.mark.parametrize("typed", ["chats", "help"])
async def test_enter_that_bounces_in_the_palette_runs_a_command_once(typed, monkeypatch):
    ran: list[str] = []
    monkeypatch.setattr(ChatApp, "_choose", lambda _, action: ran.append(action.command))
    async with chat() as c:
        await c.pilot.press("ctrl+p", *typed)
        await c.until(partial(_is_first, c, f"/{typed}"))
        for _ in range(4):  # none waits for what the one before it does
            c.app.screen.query_one(CommandList).action_select()
        await c.until(lambda: len(c.app.screen_stack) == 1)
        await c.pilot.pause()
        assert ran == [typed]
        assert c.app.failure is None


async def test_the_palette_finds_a_command_by_its_name_first():
    async with chat(size=(100, 40)) as c:
        for typed, first in (
            *(("chat", "/chats"), ("re", "/retry"), ("/new", "/new"), ("later", "/later")),
            *(("reasoning effort", "/effort"), ("mcp", "/mcp"), ("cont", "/continue")),
        ):
            await c.pilot.press("ctrl+p", *("space" if key == " " else key for key in typed))
            await c.until(partial(_is_first, c, first))
            await c.pilot.press("escape")
            await c.until(lambda: len(c.app.screen_stack) == 1)


def _is_first(c: "Chat", title: str) -> bool:
    lists = c.app.screen.query(CommandList)
    shown = [str(option.prompt).split("\n")[0] for option in lists.first().options] if lists else []
    return shown[:1] == [title]


# --- size -------------------------------------------------------------------------------------


async def test_a_hint_is_whole_where_it_is_narrow():
    async with chat(size=(40, 10)) as c:
        await c.until(lambda: c.app.status_line.size.height == 1)
        c.app.hint("New chat. Ctrl+O opens the previous one again.")
        await c.sees("New chat. Ctrl+O opens the previous", "one again.")
        assert c.app.status_line.size.height == 2
        c.app.hint("")
        await c.until(lambda: c.app.status_line.size.height == 1)


async def test_the_lines_above_the_composer_are_as_wide_as_it_is():
    async with chat([Say("One."), End()], size=(40, 10)) as c:
        await c.type("hi")
        await c.sees("One.")
        await c.ready()
        await c.type("/edit")
        await c.sees("Editing the message · Esc leaves it")


@pytest.mark.parametrize("size", [(40, 10), (20, 5)])
async def test_a_small_terminal(size):
    async with chat([Think("hm"), Say("Short."), End()], size=size) as c:
        await c.type("hi")
        await c.sees("Short.", "ready")
        assert c.app.composer.size.height == 1
        assert c.app.screen.has_class("-compact")


async def test_a_terminal_too_small_says_so_and_loses_nothing():
    async with chat(size=(19, 4)) as c:
        await c.sees("Too small")
        await c.type("hi", "space")
        await c.pilot.resize_terminal(80, 24)
        await c.gone("Too small")
        assert c.app.composer.text == "hi "


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
async def test_themes(theme):
    async with chat([Say("# A\n\n`b`\n\n```python\nx = 1\n```\n\n> c"), End()]) as c:
        c.app.theme = theme
        await c.type("hi")
        await c.sees("x = 1")
        await c.ready()


async def test_no_color_is_honoured(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with chat([Say("`b`"), End()]) as c:
        await c.type("hi")
        await c.ready()
        for strip in c.app.screen._compositor.render_strips():
            for segment in strip:
                colour = segment.style.color if segment.style else None
                if colour is not None and colour.triplet is not None:
                    assert len(set(colour.triplet)) == 1


async def test_a_long_session_can_be_read_to_its_start():
    async with chat(resume=loaded(200)) as c:
        await c.sees("answer 199")
        widgets = len(list(c.app.screen.walk_children()))
        for _ in range(400):
            if "question -1" in c.screen():
                break
            await c.pilot.press("pageup")
        assert "question -1" in c.screen()
        await c.type("one more")
        await c.sees("thank you", "one more")
        await c.ready()
        assert len(list(c.app.screen.walk_children())) == widgets < 30


async def test_thinking_of_old_turns_opens_on_a_click():
    async with chat(resume=loaded(3)) as c:
        await c.sees("answer 2")
        assert "thought 2" not in c.screen()
        await c.click("▸ thought")
        await c.sees("thought 2")


async def test_a_click_on_the_transcript_leaves_the_composer_its_keys():
    async with chat([Say("Click here."), End()]) as c:
        await c.type("hi")
        await c.sees("Click here.")
        await c.pilot.click(Transcript, offset=(5, 5))
        await c.pilot.press("y", "o")
        assert c.app.composer.text == "yo"


async def test_a_selection_of_code_is_copied_without_the_fill():
    async with chat([Say("```\none\n  two\n```"), End()]) as c:
        await c.type("hi")
        await c.sees("two")
        await c.ready()
        [y] = [y for y, line in enumerate(c.screen().split("\n")) if line.strip() == "one"]
        await c.drag((1, y), (90, y + 1))
        await c.pilot.press("ctrl+c")
        await c.until(lambda: c.app.clipboard == "one\n  two")


async def test_the_mouse_selects_what_is_below_it():
    async with chat([Say("first 你 words\n\nlast line here"), End()]) as c:
        await c.type("hi")
        await c.ready()
        [y] = [y for y, line in enumerate(c.screen().split("\n")) if "first" in line]
        await c.drag((c.screen().split("\n")[y].index("words") + 1, y), (7, y + 2))
        assert c.app.screen.get_selected_text() == "words\n\nlast"


async def test_code_answer_and_thinking_are_copied_by_a_click():
    answer = "Two:\n\n```python\nx = 1\n```\n\n```sh\nls\n```"
    async with chat([Think("hm"), Say(answer), End()], show_thinking=True) as c:
        await c.type("hi")
        await c.ready()
        await c.sees("python", "hm")
        await c.click("python")
        await c.until(lambda: c.app.clipboard == "x = 1")
        await c.click("sh ")
        await c.until(lambda: c.app.clipboard == "ls")
        await c.click("copy")
        await c.until(lambda: c.app.clipboard == "hm")
        await c.click("copy", which=-1)
        await c.until(lambda: c.app.clipboard == answer)


async def test_a_session_in_use_is_refused():
    async with chat() as c:
        await c.type("hi")
        await c.sees("thank you")
        with pytest.raises(Refused, match="open in another window"):
            ChatApp(
                c.app.setup.__class__("x", c.hosts, Options(), resume=c.app.conversation.session.id)
            )


# --- what is learnt, and the time that it takes -------------------------------------------------


async def test_the_window_is_there_before_it_is_known_what_the_server_is(tmp_path):
    known = asyncio.Event()
    picture_path = picture(tmp_path)
    with FakeServer([Say("Fine."), End()]) as server:
        hosts = FakeHosts(server.url)
        options = Options(model="Step-3.7-Flash", dialect=OPENAI)

        async def find(on_wait):
            on_wait(0.0)
            await known.wait()
            return replace(setup, title="Step-3.7-Flash", context=4096, prices=True,
                           options=options)  # fmt: skip

        setup = ChatSetup("a model", hosts, Options(), sees=True, prices=False, own=False,
                          pictures=(picture_path,), find=find)  # fmt: skip
        app = ChatApp(setup)
        async with app.run_test(size=(100, 30)) as pilot:
            c = Chat(app, pilot, server, hosts)
            await c.sees("a model", "waiting for the server …", "cat.png 1024×768")  # noqa: RUF001
            assert "tokens" not in c.screen()
            await c.type("hi")
            await c.sees("Not sent yet")
            assert not hosts.opened
            await c.type("/effort low")
            known.set()
            await c.sees("Step-3.7-Flash", "Fine.", "ready")
            assert "768 · 504 tokens" in c.screen(), "the question's picture has its price now"
            assert (app.options.model, app.options.effort) == ("Step-3.7-Flash", "low")
            assert Session.load(app.conversation.session.id).title == "Step-3.7-Flash"


async def test_a_server_that_turns_out_to_be_blind_gives_the_picture_back(tmp_path):
    known = asyncio.Event()
    with FakeServer() as server:
        hosts = FakeHosts(server.url)

        async def find(_):
            await known.wait()
            return replace(setup, sees=False, blind_why="It has no mmproj.")

        setup = ChatSetup("a model", hosts, Options(), sees=True, own=False, find=find)
        app = ChatApp(replace(setup, pictures=(picture(tmp_path),)))
        async with app.run_test(size=(100, 30)) as pilot:
            c = Chat(app, pilot, server, hosts)
            await c.sees("cat.png")
            known.set()
            await c.sees("cannot take images", "It has no mmproj.")
            assert not app.composer.pictures


async def test_a_call_is_named_and_not_called_an_empty_answer():
    async with chat([Call("get_weather", '{"city": "Paris"}'), End("tool_calls")]) as c:
        await c.type("Weather?")
        await c.sees('It called get_weather({"city": "Paris"}).', "offers no tools", "ready")
        assert "/retry" not in c.screen()


async def test_a_stall_is_told_and_so_is_what_an_answer_took(monkeypatch):
    monkeypatch.setattr("runner.chat.clock.STALL_S", 0.0)
    gate = Gate()
    async with chat([Say("Well"), gate, Say("."), End()]) as c:
        await c.type("hi")
        await c.sees("answering · no token for")
        gate.open()
        await c.sees("First token after", "wrote 5 tokens at 31.2 tokens/s.", "ready")


async def test_a_picture_has_its_time_once_the_rate_of_reading_is_known(tmp_path):
    async with chat([Say("Fine."), End(prompt=2000)]) as c:  # read at 100 tokens/s
        path = str(picture(tmp_path))
        await c.paste(path)
        await c.sees(f"cat.png 1024{TIMES}768 · 504 tokens")
        assert "~" not in c.screen()
        await c.type("look")
        await c.sees("Fine.", "ready")
        await c.paste(path)
        await c.sees(f"cat.png 1024{TIMES}768 · 504 tokens · ~5 s")


async def test_the_time_of_a_picture_is_an_estimate_until_it_is_measured(tmp_path):
    async with chat([Say("Fine."), End(prompt=2000)], expected_rate=252.0) as c:
        path = str(picture(tmp_path))
        await c.paste(path)
        await c.sees("504 tokens · ~2 s (estimate)")
        await c.paste(path)
        await c.sees("together 1,008 tokens · ~4 s (estimate)")
        await c.type("look")
        await c.sees("Fine.", "ready")
        await c.paste(path)
        await c.sees("504 tokens · ~5 s")
        assert "(estimate)" not in c.screen()


async def test_what_takes_a_terminal_closes_the_window_and_keeps_what_was_typed():
    known = asyncio.Event()

    async def find(_):
        await known.wait()
        raise NeedsTerminal("A download is shown in the terminal.")

    hosts = FakeHosts("http://x")
    app = ChatApp(ChatSetup("a model", hosts, Options(), find=find))
    with FakeServer() as server:
        async with app.run_test(size=(100, 30)) as pilot:
            c = Chat(app, pilot, server, hosts)
            await c.sees("a model", "loading …")
            await c.type("sent already")
            await c.type("half a wo", "r")
            known.set()
            await c.until(lambda: app.needs_terminal and not app.is_running)
    assert app.failure is None
    assert app.return_code == 0
    assert not hosts.opened
    again = Conversation("Fake 1B", app.conversation.session.id)
    assert again.draft is not None
    assert again.draft.text == "sent already\nhalf a wor"
    again.close()
