"""The chat on a real terminal, its engine a fake: signals, bracketed paste, the screen."""

import signal
import sys
import time
from pathlib import Path

import pytest

from runner.chat.export import TIMES
from runner.chat.sessions.entries import Draft
from runner.chat.sessions.store import Session
from tests.fakes.sse_server import FakeServer, Gate, Say

pytest.importorskip("pexpect")

from tests.terminal.screen import PATIENCE_S, ROOT
from tests.terminal.screen import Terminal as Screen

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's"),
]


class Terminal(Screen):
    """The chat with the fake engine at `url`."""

    def __init__(self, url: str, home: Path, **env: str) -> None:
        self.left = home / "left"
        program = str(ROOT / "tests/fakes/chat_program.py")
        super().__init__(program, url, str(self.left), home=home, size=(24, 80), **env)

    def session(self) -> Session:
        [draft] = (self.left.parent / "data" / "sessions").glob("*.draft.json")
        return Session.load(draft.name.split(".")[0])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return tmp_path


def test_a_termination_keeps_the_text_and_leaves_the_host(home):
    with FakeServer() as server, Terminal(server.url, home) as terminal:
        terminal.sees("ready")
        terminal.child.send("half a thought")
        terminal.sees("half a thought")
        terminal.child.kill(signal.SIGTERM)
        assert terminal.ended() == 130
        assert "saved in" in terminal.raw
        assert terminal.left.exists()
        assert terminal.session().draft() == Draft("half a thought")


def test_a_closed_terminal_keeps_the_text_and_leaves_the_host(home):
    gate = Gate()
    with FakeServer([Say("A part"), gate]) as server, Terminal(server.url, home) as terminal:
        terminal.sees("ready")
        terminal.child.send("a question\r")
        terminal.sees("A part")
        terminal.child.send("half a thought")
        terminal.sees("half a thought")
        # As a closed window does: the kernel sends SIGHUP, and no write comes through.
        terminal.child.ptyproc.fileobj.close()
        terminal.child.closed = True
        deadline = time.monotonic() + PATIENCE_S
        while terminal.child.ptyproc.isalive():
            assert time.monotonic() < deadline, "it did not end"
            time.sleep(0.02)
        assert terminal.child.ptyproc.exitstatus == 130
        assert terminal.left.exists()
        session = terminal.session()
        assert session.draft() == Draft("half a thought")
        assert [entry.message.text for entry in session.entries] == ["a question", "A part"]
        assert session.entries[-1].stopped
        gate.open()


def test_a_file_dropped_on_the_terminal_becomes_a_chip(home):
    from PIL import Image

    path = home / "my cat.png"
    Image.new("RGB", (640, 480), "red").save(path)
    with FakeServer() as server, Terminal(server.url, home) as terminal:
        terminal.sees("ready")
        terminal.child.send(f"\x1b[200~{str(path).replace(' ', chr(92) + ' ')}\x1b[201~")
        terminal.sees(f"[Image #1] my cat.png 640{TIMES}480")
        terminal.child.send("\x11")
        assert terminal.ended() == 0


def test_no_color_means_no_colour(home):
    with FakeServer() as server, Terminal(server.url, home, NO_COLOR="1") as terminal:
        terminal.sees("ready")
        terminal.child.send("hi\r")
        terminal.sees("Fine, thank you.")
        terminal.child.send("\x03\x03")
        assert terminal.ended() == 0
    colours = {
        colour
        for line in terminal.screen.buffer.values()
        for cell in line.values()
        for colour in (cell.fg, cell.bg)
        if len(colour) == 6
    }
    assert all(colour[:2] == colour[2:4] == colour[4:] for colour in colours)
