"""Finding things on a real terminal: the keys that it sends, the screen that it gets."""

import sys

import pytest

from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.store import Session
from runner.chat.wire import Message
from tests.fakes.sse_server import End, FakeServer, Say

pytest.importorskip("pexpect")

from tests.terminal.test_fake_engine import Terminal, home  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's"),
]


def test_words_are_found_in_this_chat_and_in_all(home):  # noqa: F811 - the fixture
    session = Session.create("Fake 1B")
    session.add(SessionEntry(Message("user", "about birds")))
    session.add(SessionEntry(Message("assistant", "The quetzal is one.")))
    with (
        FakeServer([Say("A heron. Another heron."), End()]) as server,
        Terminal(server.url, home) as terminal,
    ):
        terminal.sees("ready")
        terminal.child.send("hello\r")
        terminal.sees("Another heron.")
        terminal.child.send("\x06heron")  # Ctrl+F
        terminal.sees("2 of 2")
        terminal.child.send("\x1bOR")  # F3
        terminal.sees("1 of 2")
        terminal.child.send("\x1b[A")  # Up
        terminal.sees("2 of 2")
        terminal.child.send("\x1b")
        terminal.until(lambda: "2 of 2" not in terminal.text())
        terminal.child.send("\x0fquetzal")  # Ctrl+O
        terminal.sees("The quetzal is one.")
        terminal.child.send("\r")
        terminal.sees("1 of 1", "The quetzal is one.")
        terminal.child.send("\x1b\x11")  # Esc, Ctrl+Q
        assert terminal.ended() == 0
