"""The chat in plain lines, against the fake server and the fake host."""

import errno
import io
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from runner.base.errors import Exit, Refused, SteprunError, UsageError
from runner.chat.conversation import Conversation
from runner.chat.dialect import LLAMA_SERVER
from runner.chat.export import TIMES
from runner.chat.host import ChatSetup
from runner.chat.steps import StepKind, TurnStep
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from runner.cli.commands.chat import chat as chat_command
from runner.tui.actions import by_command
from runner.tui.composer import PASTE_BYTES
from runner.tui.plain import talk as talks
from runner.tui.plain.commands import PlainCommands
from runner.tui.plain.keyboard import MESSAGE_BYTES, Keyboard
from runner.tui.plain.output import PlainOutput
from runner.tui.plain.words import AnswerWords
from runner.tui.settings import SettingsFile
from runner.tui.wings import GROUPS
from tests.fakes.plain_user import PlainUser, Typed
from tests.fakes.sse_server import (
    Call,
    Die,
    End,
    FakeHosts,
    FakeServer,
    Gate,
    Refuse,
    Say,
    Step,
    Think,
)

FINE: Sequence[Step] = (Say("A good "), Say("answer."), End())


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


class Ran:
    """A chat that has ended."""

    def __init__(self, *scripts: Sequence[Step], lines: Sequence[Typed], **more: Any) -> None:
        self.user = PlainUser(lines)
        defaults = {"options": Options(), "context": 4096, "sees": True}
        with FakeServer(*scripts) as self.server:
            self.hosts = FakeHosts(self.server.url)
            self.hosts.dies_loading = more.pop("fails", None)
            self.code = self.user.run(ChatSetup("Fake 1B", self.hosts, **{**defaults, **more}))
        self.text = self.user.text
        assert self.user.chat is not None
        self.conversation = self.user.chat.talk.conversation
        assert all(host.left for host in self.hosts.opened)

    @property
    def turns(self):
        return self.conversation.turns


def test_a_chat_is_lines_and_nothing_else():
    ran = Ran([Think("hm "), Think("hm"), Say("A good "), Say("answer."), End()], lines=["hi"])
    assert ran.code == Exit.DONE
    assert ran.text.split("\n")[:3] == ["> hi", "Thought for 0 s, 2 tokens.", "A good answer."]
    assert f"Resume with: steprun chat --resume {ran.conversation.session.id}" in ran.text
    assert not {char for char in ran.text if ord(char) < 32} - {"\n"}
    again = Conversation("Fake 1B", ran.conversation.session.id)
    assert [(turn.text, turn.answer) for turn in again.turns] == [("hi", "A good answer.")]
    again.close()


def test_the_reasoning_is_printed_where_it_is_asked_for():
    script: list[Step] = [Think("deep "), Think("thoughts"), Say("So."), End()]
    ran = Ran(script, script, lines=["/think", "hi", "/think", "hi"])
    assert "Thinking:\ndeep thoughts\nSo.\n" in ran.text
    assert ran.text.count("deep thoughts") == 1
    assert "Thinking:\n" in Ran(script, lines=["hi"], show_thinking=True).text


def test_what_looked_like_the_answer_and_was_reasoning_is_said_to_be_that():
    ran = Ran([Say("deep thoughts "), Say("</think>\nSo "), Say("it is."), End()], lines=["hi"])
    assert ran.turns[0].answer == "So it is."
    assert ran.text.count("So it is.") == 1


def test_a_backslash_goes_on_in_the_next_line():
    ran = Ran(FINE, lines=["one\\", "two", "/quit", "never"])
    assert [turn.text for turn in ran.turns] == ["one\ntwo"]
    assert "> one\\\n. two\n" in ran.text


def test_a_message_that_is_not_ended_is_a_draft():
    ran = Ran(lines=["one\\", "two\\"])
    assert ran.turns == []
    assert "Your unsent text is saved in" in ran.text
    assert ran.conversation.session.draft_text() == "one\ntwo"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("/undo", "/undo is not a command. /help lists the commands."),
        ("/hepl", "Did you mean /help?"),
        ("/image", "Type /image PATH. Attach an image."),
        ("/save", "Type /save PATH."),
        ("/retry", "There is nothing to ask again."),
        ("/edit", "There is no message to edit."),
        ("/earlier", "There is no earlier version."),
        ("/detach 7", "There is no such image."),
        ("/send", "There is nothing to send."),
        ("/chats", "No chat is saved yet."),
        ("/resume 3", "No saved chat has the ID '3'."),
        ("/effort deep", "'deep' is not a reasoning effort."),
        ("/effort low", "Reasoning effort: low, from the next question on."),
        ("/status", "Model: Fake 1B\n"),
        ("/help", "/retry: ask the last question again"),
        ("/image /nothing/here.png", "/nothing/here.png"),
        ("/save /nothing/here.md", "/nothing/here.md cannot be written."),
    ],
)
def test_each_command_says_what_came_of_it(command, answer):
    ran = Ran(lines=[command])
    assert answer in ran.text
    assert ran.turns == []


def test_the_effort_is_remembered_and_sent():
    ran = Ran(FINE, lines=["/effort high", "hi"])
    assert SettingsFile().now.effort == "high"
    assert "high" in str(ran.server.requests[0])


def test_shared_commands_are_told_in_the_same_words():
    window = by_command(GROUPS)
    other = {"help", "chats", "resume", "attach", "mcp"}
    for name, action in PlainCommands.commands.items():
        assert not action.keys
        if name in window and name not in other:
            assert (action.id, action.does, action.args) == (
                window[name].id,
                window[name].does,
                window[name].args,
            )


def test_images_are_attached_by_command_and_by_path(tmp_path):
    paths = [tmp_path / "cat.png", tmp_path / "dog.png"]
    for path in paths:
        Image.new("RGB", (1024, 768), "red").save(path)
    ran = Ran(FINE, FINE, lines=[f"/image {paths[0]}", str(paths[1]), "/detach 1", "what?", "and?"])
    assert f"[Image #1] cat.png 1024{TIMES}768" in ran.text
    assert f"[Image #2] dog.png 1024{TIMES}768" in ran.text
    assert "Removed cat.png." in ran.text
    assert [len(turn.pictures) for turn in ran.turns] == [1, 0]
    blind = Ran(lines=[f"/image {paths[0]}"], sees=False, blind_why="It has no mmproj.")
    assert "This model cannot see images. It has no mmproj." in blind.text


def test_files_go_with_the_next_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notes = Path("notes.txt")
    notes.write_text("one two three\n")
    lines = [f"/attach {notes}", "/attach /nothing/here.txt", "/status", "and?", "/retry"]
    ran = Ran(FINE, FINE, FINE, lines=["count", *lines], files=(notes,))
    assert ran.text.count(f"[File] {notes}") == 2
    assert ran.text.count("sent with the next message.") == 2
    assert "/nothing/here.txt cannot be attached." in ran.text
    assert "Files: 1 for the next message" in ran.text
    sent = [request["messages"][-1]["content"] for request in ran.server.requests]
    assert sent[0].endswith("\n\ncount")
    assert sent[1] == sent[2]
    assert all("one two three" in each for each in sent)
    resumed = Ran(lines=[], resume=ran.conversation.session.id)
    assert f"[File] {notes}" in resumed.text


def test_a_message_that_is_not_sent_keeps_its_files(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("one two three\n")
    ran = Ran(lines=["count"], files=(notes,), fails=SteprunError("No memory."))
    assert ran.user.chat is not None
    assert [each.file.name for each in ran.user.chat.talk.unsent.files] == [str(notes)]


def test_an_answer_that_broke_off_is_continued():
    more = ["/continue", "count", "/continue", "/continue"]
    options = Options(dialect=LLAMA_SERVER)
    cut: Sequence[Step] = [Say("One, t"), End("length")]
    ran = Ran(cut, [Say("wo."), End()], lines=more, options=options)
    assert "There is no answer to continue." in ran.text
    assert "This answer is whole." in ran.text
    assert [turn.answer for turn in ran.turns] == ["One, two."]
    assert ran.server.requests[1]["messages"][-1] == {"role": "assistant", "content": "One, t"}


def test_what_was_only_thought_is_answered():
    thought: Sequence[Step] = [Think("so much"), End()]
    ran = Ran(thought, [Say("Blue."), End()], lines=["which?", "/answer", "/answer"])
    assert ran.text.count("There is no thinking without an answer.") == 1
    assert [turn.answer for turn in ran.turns] == ["Blue."]


def test_commands_that_an_answer_names_are_there():
    named = set()
    for phase in (TurnState.STOPPED, TurnState.CUT, TurnState.DONE):
        for finish in ("stop", "length"):
            turn = Turn("q", phase=phase, steps=[TurnStep(StepKind.THINKING, "so much")])
            turn.finish = finish
            named |= set(re.findall(r"/(\w+)", turn.note(4096)))
    assert {"continue", "answer"} <= named <= set(PlainCommands.commands)


def test_another_answer_and_the_one_before():
    ran = Ran([Say("One."), End()], [Say("Two."), End()], lines=["hi", "/retry", "/earlier"])
    assert "Two.\n" in ran.text
    assert "Version 1 of 2.\n> hi\nOne.\n" in ran.text
    assert [turn.answer for turn in ran.turns] == ["One."]


def test_a_message_is_edited_and_written_in_the_users_editor(monkeypatch, tmp_path):
    editor = tmp_path / "editor.py"
    editor.write_text("import sys; open(sys.argv[1], 'a').write(' please')")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    ran = Ran(FINE, FINE, FINE, lines=["hi", "/edit", "/editor"])
    assert [turn.text for turn in ran.turns] == ["hi please", "please"]
    assert ran.conversation.siblings(ran.turns[0]) == (2, 2)


def test_chats_are_listed_and_resumed_by_number(tmp_path):
    ran = Ran(FINE, FINE, lines=["first question", "/new", "second question", "/chats first"])
    assert "1. first question, 1 answer, " in ran.text
    again = Ran(FINE, lines=["/chats", "/resume 2", "more", f"/save {tmp_path / 'out.md'}"])
    assert "> first question\nA good answer.\n" in again.text
    assert [turn.text for turn in again.turns] == ["first question", "more"]
    assert "more" in (tmp_path / "out.md").read_text()


def test_a_chat_that_is_resumed_shows_its_last_turn():
    first = Ran(FINE, lines=["hi"])
    again = Ran(FINE, lines=["and?"], resume=first.conversation.session.id)
    assert f"Resumed the chat {first.conversation.session.id}: 1 question." in again.text
    assert again.text.index("> hi\nA good answer.") < again.text.index("> and?")
    assert [each["content"] for each in again.server.requests[0]["messages"]] == [
        "hi",
        "A good answer.",
        "and?",
    ]


def test_a_failed_answer_is_said_and_asked_again():
    ran = Ran([Say("An "), Die()], [Refuse(500, "out \x1b[2J of luck")], FINE, lines=["hi"])
    assert "broke during the answer" in ran.text
    assert ran.code == Exit.FAILED
    ran = Ran([Refuse(500, "out \x1b[2Jof luck")], FINE, lines=["hi", "/retry"])
    assert "out [2Jof luck" in ran.text
    assert ran.code == Exit.DONE
    assert ran.turns[0].answer == "A good answer."


def test_a_call_of_a_tool_is_told():
    ran = Ran([Call("zoom", '{"x": 1}'), End("tool_calls")], lines=["hi"])
    assert 'Called zoom with {"x": 1}.\n' in ran.text


def test_a_host_that_does_not_open_gives_the_message_back():
    broken = SteprunError("The engine was killed.")
    ran = Ran(lines=["hi"], fails=broken)
    assert "The engine was killed." in ran.text
    assert "Not sent, and kept: hi\n/send sends it" in ran.text
    assert "Your unsent text is saved in" in ran.text
    assert ran.code == Exit.FAILED
    again = Conversation("Fake 1B", ran.conversation.session.id)
    assert again.draft is not None
    assert again.draft.text == "hi"
    again.close()
    sent = Ran(FINE, lines=["/send"], resume=ran.conversation.session.id)
    assert [turn.text for turn in sent.turns] == ["hi"]


def test_ctrl_c_stops_an_answer_and_twice_quits(monkeypatch):
    """The Ctrl+C comes where the main thread waits, as a signal would bring it."""
    gate = Gate()
    with FakeServer([Say("A part of it "), gate]) as server:
        user = PlainUser(["hi", "never"])
        presses = iter((KeyboardInterrupt, KeyboardInterrupt))

        def printed(future: Any, timeout: float, real: Any) -> Any:
            here = threading.current_thread() is threading.main_thread()
            if here and "A part of" in user.text and (press := next(presses, None)) is not None:
                raise press
            return real(future, timeout)

        real = Future.result
        monkeypatch.setattr(
            Future, "result", lambda self, timeout=None: printed(self, timeout or 0.05, real)
        )
        code = user.run(ChatSetup("Fake 1B", FakeHosts(server.url), options=Options()))
        gate.open()
    assert code == Exit.DONE
    assert "A part of it\n" in user.text.replace("it \n", "it\n")
    assert "Stopped." in user.text
    assert "never" not in user.text
    assert user.chat is not None
    (turn,) = user.chat.talk.conversation.turns
    assert (turn.phase, turn.answer) == (TurnState.STOPPED, "A part of it ")


def test_what_is_typed_is_on_the_disk_before_it_is_sent(monkeypatch):
    monkeypatch.setattr(talks, "AUTOSAVE_S", 0.01)
    seen: list[str] = []

    def look() -> None:
        assert user.chat is not None
        session = user.chat.talk.conversation.session
        deadline = time.monotonic() + 20
        while (draft := session.draft()) is None or draft.text != "one\ntwo":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        seen.append(draft.text)

    with FakeServer(FINE) as server:
        user = PlainUser(["one\\", "two\\", look, "three"])
        user.run(ChatSetup("Fake 1B", FakeHosts(server.url), options=Options()))
    assert seen == ["one\ntwo"]


def test_a_full_disk_is_said_and_what_is_kept_is_written_when_there_is_room(monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        lines: list[Typed] = ["hi", patch.undo, "again"]
        patch.setattr(os, "fsync", full)
        ran = Ran(FINE, FINE, lines=lines)
    assert "This chat is not being saved." in ran.text
    assert "No space left on device" in ran.text
    assert "This chat is being saved again; nothing is lost." in ran.text
    again = Conversation("Fake 1B", ran.conversation.session.id)
    assert [turn.text for turn in again.turns] == ["hi", "again"]
    again.close()


def test_two_chats_of_one_id_do_not_mix():
    first = Ran(FINE, lines=["hi"])
    held = Conversation("Fake 1B", first.conversation.session.id)
    with pytest.raises(Refused, match="open"):
        Ran(lines=["hi"], resume=first.conversation.session.id)
    ran = Ran(FINE, lines=[f"/resume {first.conversation.session.id}", "hi"])
    assert "is open" in ran.text
    assert [turn.text for turn in ran.turns] == ["hi"]
    held.close()


def test_a_message_is_bounded():
    assert MESSAGE_BYTES == PASTE_BYTES
    huge = "x" * (10 << 20)
    ran = Ran(FINE, lines=[huge, "hi"])
    assert "The message is too long. It has 10,485,761 bytes; the limit is 1,048,576." in ran.text
    assert [turn.text for turn in ran.turns] == ["hi"]
    assert len(ran.text) < 3 << 20


def test_lines_that_arrive_together_are_one_message(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 0

    stream = Terminal("one\ntwo\n/help\nthree\n")
    together = iter(([1], [], []))
    monkeypatch.setattr(select, "select", lambda *_: (next(together), [], []))
    board = Keyboard(stream, PlainOutput(io.StringIO()))
    assert board.message() == "one\ntwo"
    assert board.message() == "/help"  # whatever follows: a command stands alone
    assert board.message() == "three"
    with pytest.raises(EOFError):
        board.message()


def test_an_output_that_is_gone_ends_the_chat():
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    user = PlainUser(["hi", "never"])
    user.printed = Gone()
    with FakeServer(FINE) as server:
        assert user.run(ChatSetup("Fake 1B", FakeHosts(server.url), options=Options())) == 0
        assert len(server.requests) <= 1


def test_no_textual_is_imported():
    code = (
        "import sys, runner.cli.main, runner.cli.commands.chat, runner.tui.plain.chat; "
        "print(*sorted({'textual', 'rich', 'PIL', 'httpx2'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert ran.stdout.split() == []


def test_plain_is_no_way_to_ask_once():
    ran = CliRunner().invoke(chat_command, ["--plain", "-p", "hi"])
    assert isinstance(ran.exception, UsageError)
    assert "-p asks once" in str(ran.exception)


# --- tools ---

ZOOM: Step = Call("zoom", '{"image": 1, "x": 100, "y": 200, "w": 500, "h": 500}')


def test_a_zoom_is_run_and_each_step_of_it_is_a_line(tmp_path):
    Image.new("RGB", (64, 48), "blue").save(tmp_path / "cat.png")
    looks: list[Step] = [Say("Let me look."), ZOOM, End("tool_calls")]
    ran = Ran(*(looks, FINE), lines=["hi there"], pictures=(tmp_path / "cat.png",))
    assert [tool["function"]["name"] for tool in ran.server.requests[0]["tools"]] == [
        "zoom",
        "mark",
    ]
    lines = ran.text.split("\n")
    at = lines.index("Let me look.")
    assert lines[at + 1].startswith("Called zoom with ")
    assert lines[at + 2].startswith("zoom returned, 1 image: Image 2: image 1")
    assert lines[at + 3] == "A good answer."


def test_a_server_that_takes_no_tools_is_told_of_once(tmp_path):
    Image.new("RGB", (64, 48), "blue").save(tmp_path / "cat.png")
    refuse: list[Step] = [Refuse(400, "this model does not support tools")]
    ran = Ran(*(refuse, FINE, FINE), lines=["hi there", "again"], pictures=(tmp_path / "cat.png",))
    assert ran.text.count("This server takes no tools, so none are offered.") == 1
    assert ran.text.count("A good answer.") == 2


def test_a_text_that_was_thinking_after_all_is_told_so_in_the_round_it_is_of():
    turn = Turn("q")
    turn.steps = [
        *(TurnStep(StepKind.TEXT, "Let me look."), TurnStep(StepKind.CALL, "{}", name="zoom")),
        *(TurnStep(StepKind.RESULT, "It is small.", name="zoom"), TurnStep(StepKind.TEXT, "Hm ")),
    ]
    words = AnswerWords()
    first = words.more(turn)
    turn.steps[3:] = [TurnStep(StepKind.THINKING, "Hm "), TurnStep(StepKind.TEXT, "A cat.")]
    rest = words.more(turn, end=True)
    assert first.count("Let me look.") == 1
    assert rest == "\n(That was the reasoning. The answer follows.)\nA cat.\n"
