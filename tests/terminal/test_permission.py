"""The panel that asks whether a tool may run, on a real terminal, with a real MCP server."""

import json
import signal
import sys
import time

import psutil
import pytest

from tests.fakes import bad_mcp_server
from tests.fakes.sse_server import FakeServer

pytest.importorskip("pexpect")

from tests.terminal.screen import ROOT, Terminal

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's"),
]
PROGRAM = str(ROOT / "tests/fakes/permission_program.py")
SERVER = str(ROOT / "tests/fakes/mcp_server.py")


@pytest.fixture
def home(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mcp.toml").write_text(
        f'[server.fake]\ncommand = "{sys.executable}"\nargs = ["{SERVER}"]\n'
    )
    return tmp_path


def test_a_call_is_asked_for_in_a_small_terminal_and_answered_by_key(home):
    arguments = json.dumps({"a": 1, "b": 41, "why": "\u202e\x1b[2J" + "long " * 200})
    with (
        FakeServer() as server,
        Terminal(PROGRAM, server.url, arguments, home=home, size=(10, 40)) as terminal,
    ):
        terminal.child.send("my words")
        terminal.sees("my words", "fake__add wants to run", r"\u202e\u001b", "(Alt+P first)")
        terminal.child.send("yan")  # is part of the message
        terminal.sees("my wordsyan", "wants to run")
        terminal.child.send("\x1bp")
        terminal.until(lambda: "(Alt+P first)" not in terminal.text())
        time.sleep(0.5)  # longer than what counts as too soon
        terminal.child.send("v\r")
        terminal.sees("of the MCP")
        terminal.child.send("q")
        terminal.sees("wants to run")
        terminal.child.send("y\r")
        terminal.sees("RESULT 42", "my wordsyan")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the group is killed, not the tree")
def test_no_server_is_left_when_the_chat_is_killed(home, tmp_path):
    noted = tmp_path / "pids"
    args = f'["{bad_mcp_server.__file__}", "orphans", "{noted}"]'
    (home / "config" / "mcp.toml").write_text(
        f'[server.fake]\ncommand = "{sys.executable}"\nargs = {args}\n'
    )
    with FakeServer() as server, Terminal(PROGRAM, server.url, "{}", home=home) as terminal:
        terminal.sees("fake is on")
        pids = [int(pid) for pid in noted.read_text().split()]
        assert all(map(psutil.pid_exists, pids))
        terminal.child.kill(signal.SIGKILL)
        terminal.until(lambda: not any(map(psutil.pid_exists, pids)))
