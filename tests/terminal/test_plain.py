"""The chat in plain lines on a real terminal: editing, Ctrl+C, signals, no escape codes."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("pexpect")

from runner.chat.conversation import Conversation
from runner.chat.sessions.store import find_session
from tests.fakes.sse_server import Call, End, FakeServer, Gate, Say, Step, Think
from tests.terminal.screen import ROOT, Terminal

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's"),
]
PROGRAM = str(ROOT / "tests/fakes/plain_program.py")
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


def _draft() -> str:
    conversation = Conversation("Fake 1B", find_session())
    conversation.session.release()
    return conversation.draft.text if conversation.draft else ""


def _drafted(text: str) -> None:
    """Wait until a text is on the disk as what was typed last."""
    deadline = time.monotonic() + 20
    while _try_draft() != text:
        assert time.monotonic() < deadline, _try_draft()
        time.sleep(0.05)


def _try_draft() -> str:
    from runner.chat.sessions.store import Session

    try:
        return Session(find_session()).draft_text()
    except Exception:  # noqa: BLE001 - none yet
        return ""


def test_a_chat_without_an_escape_code(home: Path) -> None:
    with (
        FakeServer([Say("Hello there."), End()]) as server,
        Terminal(PROGRAM, server.url, home=home) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("hi\r")
        terminal.sees("Hello there.")
        terminal.child.send(CTRL_D)
        assert terminal.ended() == 0
        assert "\x1b" not in terminal.raw
        assert "Resume with: " in terminal.raw


def test_up_brings_the_earlier_message_back(home: Path) -> None:
    with (
        FakeServer([Say("One."), End()], [Say("Two."), End()]) as server,
        Terminal(PROGRAM, server.url, home=home) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("hello\r")
        terminal.sees("One.")
        terminal.child.send(f"{UP}\r")
        terminal.sees("Two.")
        assert [each["messages"][-1]["content"] for each in server.requests] == ["hello", "hello"]


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_ctrl_c_stops_and_asks_before_it_quits(home: Path, term: str) -> None:
    gate = Gate()
    with (
        FakeServer([Say("A part of it "), gate]) as server,
        Terminal(PROGRAM, server.url, home=home, TERM=term) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("hi\r")
        terminal.sees("A part of it")
        terminal.child.send(CTRL_C)
        terminal.sees("Stopped. /continue resumes it. Ctrl+C again quits.")
        assert server.hung_up.wait(20)
        time.sleep(3.2)  # a later one is not the second of two
        terminal.child.send(CTRL_C)
        terminal.until(lambda: terminal.text().count("Ctrl+C again quits.") == 2)
        terminal.child.send(CTRL_C)
        assert terminal.ended() == 0
        gate.open()


def test_what_is_typed_survives_ctrl_c_and_a_kill(home: Path) -> None:
    with FakeServer() as server, Terminal(PROGRAM, server.url, home=home) as terminal:
        terminal.sees("> ")
        terminal.child.send("one two")
        _drafted("one two")
        terminal.child.send(CTRL_C)
        terminal.sees("Not sent, and kept: one two", "Ctrl+C again quits.")
        terminal.child.send("three")
        _drafted("one two\nthree")
        terminal.child.kill(signal.SIGKILL)
        terminal.child.wait()
    assert _draft() == "one two\nthree"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_the_end_from_outside_is_in_order(home: Path, number: int) -> None:
    with FakeServer() as server, Terminal(PROGRAM, server.url, home=home) as terminal:
        terminal.sees("> ")
        terminal.child.send("one")
        _drafted("one")
        terminal.child.send(" two")
        terminal.sees("one two")
        time.sleep(0.2)  # readline has seen it
        terminal.child.kill(number)
        assert terminal.ended() == 130
        assert "Your unsent text is saved in" in terminal.raw
    assert _draft() == "one two"


def test_pasted_lines_are_one_message(home: Path) -> None:
    with (
        FakeServer([Say("Fine."), End()]) as server,
        Terminal(PROGRAM, server.url, home=home) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("one\rtwo\rthree\r")
        terminal.sees("Fine.")
        assert server.requests[0]["messages"][0]["content"] == "one\ntwo\nthree"


def test_a_terminal_that_can_only_print_gets_plain_lines(home: Path) -> None:
    with FakeServer([Say("Fine."), End()]) as server:
        server.pages = {"/v1/models": {"data": [{"id": "m"}]}}
        argv = ("-m", "runner", "chat", "--url", server.url)
        with Terminal(*argv, home=home, TERM="dumb") as terminal:
            terminal.sees("This terminal can only print (TERM is dumb)", "> ")
            terminal.child.send("hi\r")
            terminal.sees("Fine.")
            terminal.child.send(CTRL_D)
            assert terminal.ended() == 0
            assert "\x1b" not in terminal.raw


# --- tools that ask, and what is typed while an answer runs ---

SERVER = str(ROOT / "tests/fakes/mcp_server.py")
HIDDEN = "\u202e\x1b[2J" + "long " * 200
ADD: list[Step] = [
    Call("fake__add", json.dumps({"a": 1, "b": 41, "why": HIDDEN})),
    End("tool_calls"),
]
FINE: list[Step] = [Say("Fine."), End()]


def _with_server(home: Path) -> None:
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "mcp.toml").write_text(
        f'[server.fake]\ncommand = "{sys.executable}"\nargs = ["{SERVER}"]\n'
    )


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_a_call_is_asked_for_in_lines_and_what_was_typed_before_is_no_answer(
    home: Path, term: str
) -> None:
    _with_server(home)
    gate = Gate()
    with (
        FakeServer([Say("A moment. "), gate, *ADD], FINE, ADD, FINE, ADD, FINE) as server,
        Terminal(PROGRAM, server.url, "", "fake", home=home, TERM=term) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("add\r")
        terminal.sees("A moment.")
        terminal.child.send("y\r")  # before it is asked: a message
        terminal.until(lambda: _try_draft() == "y")
        gate.open()
        terminal.sees("fake__add, of the MCP server fake, wants to run.", "Allow it?")
        assert r"\u202e\u001b" in terminal.text().replace("\n", "")
        assert "more characters: v shows all" in terminal.text().replace("\n", "")
        terminal.child.send("perhaps\r")
        terminal.until(lambda: terminal.raw.count("Allow it?") == 2)
        terminal.child.send("v\r")
        terminal.sees("Add two numbers.")
        terminal.child.send("once\r")
        terminal.sees("Fine.")
        assert server.requests[1]["messages"][-1]["content"] == "42"
        terminal.until(lambda: len(server.requests) == 3)  # the message that was typed before
        assert server.requests[2]["messages"][-1]["content"] == "y"
        terminal.until(lambda: terminal.raw.count("Allow it?") == 4)
        terminal.child.send("\r")
        terminal.until(lambda: len(server.requests) == 4)
        assert "did not allow this call" in server.requests[3]["messages"][-1]["content"]
        assert "\x1b" not in terminal.raw.replace("\x1b[?2004l", "")
        terminal.sees("> ")
        terminal.child.send("again\r")
        terminal.until(lambda: terminal.raw.count("Allow it?") == 5)
        terminal.child.send("a\r")
        terminal.sees("Always from now on. /mcp fake fake__add takes it back.")
        terminal.until(lambda: len(server.requests) == 6)
        terminal.child.send(CTRL_D)
        assert terminal.ended() == 0
        assert "--mcp fake --resume" in terminal.raw


def test_ctrl_c_at_a_question_stops_the_answer(home: Path) -> None:
    _with_server(home)
    with (
        FakeServer(ADD, FINE) as server,
        Terminal(PROGRAM, server.url, "", "fake", home=home) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("add\r")
        terminal.sees("Allow it?")
        terminal.child.send(CTRL_C)
        terminal.sees("Stopped.", "Ctrl+C again quits.")
        terminal.child.send("hi\r")
        terminal.sees("Fine.")
        assert len(server.requests) == 2
        terminal.child.send(CTRL_D)
        assert terminal.ended() == 0


def test_a_signal_at_a_question_ends_it_in_order(home: Path) -> None:
    _with_server(home)
    with (
        FakeServer(ADD) as server,
        Terminal(PROGRAM, server.url, "", "fake", home=home) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("add\r")
        terminal.sees("Allow it?")
        terminal.child.kill(signal.SIGTERM)
        assert terminal.ended() == 130
        assert "Resume with: " in terminal.raw


def test_answer_that_is_typed_while_it_thinks_ends_the_thinking(home: Path) -> None:
    thinks = Gate()
    with (
        FakeServer([Think("hm "), Think("hm"), thinks, Say("Yes."), End()], FINE) as server,
        Terminal(PROGRAM, server.url, home=home) as terminal,
    ):
        server.controlled = thinks
        terminal.sees("> ")
        terminal.child.send("hi\r")
        terminal.until(lambda: bool(server.requests))
        time.sleep(0.5)
        terminal.child.send("/answer\r")
        terminal.sees("The thinking ends here; the answer follows.", "Yes.")
        assert server.controls[0]["action"] == "reasoning_end"
        terminal.child.send("next\r")
        terminal.sees("Fine.")
        assert [turn["content"] for turn in server.requests[1]["messages"][::2]] == ["hi", "next"]


def test_what_is_typed_while_an_answer_runs_is_kept_when_that_is_stopped(home: Path) -> None:
    gate = Gate()
    with (
        FakeServer([Say("A part of it "), gate], FINE) as server,
        Terminal(PROGRAM, server.url, home=home) as terminal,
    ):
        terminal.sees("> ")
        terminal.child.send("hi\r")
        terminal.sees("A part of it")
        terminal.child.send("and then\r")
        _drafted("and then")
        terminal.child.send(CTRL_C)
        terminal.sees("Not sent, and kept: and then", "Stopped.")
        assert len(server.requests) == 1
        terminal.child.send("/send\r")
        terminal.sees("Fine.")
        assert server.requests[1]["messages"][-1]["content"] == "and then"
        gate.open()
