"""The chat in plain lines on a real terminal: editing, Ctrl+C, signals, no escape codes."""

import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("pexpect")

from runner.chat.conversation import Conversation
from runner.chat.sessions.store import find_session
from tests.fakes.sse_server import End, FakeServer, Gate, Say
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
        terminal.sees("Stopped. Ctrl+C again quits.")
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
