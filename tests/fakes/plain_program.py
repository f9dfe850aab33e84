"""Runs the plain chat against a fake host in a real terminal: for the tests that need one.

Usage: plain_program.py URL [SESSION [MCP_SERVER ...]]
"""

import contextlib
import sys
from collections.abc import AsyncIterator

from runner.chat.host import ChatSetup
from runner.chat.wire import Options
from runner.tui.plain.chat import run_plain
from tests.fakes.sse_server import FakeHost


@contextlib.asynccontextmanager
async def open_host() -> AsyncIterator[FakeHost]:
    yield FakeHost(sys.argv[1])


if __name__ == "__main__":
    session = sys.argv[2] if len(sys.argv) > 2 else ""
    setup = ChatSetup(
        "Fake 1B",
        open_host,
        Options(),
        context=4096,
        sees=True,
        resume=session,
        mcp=tuple(sys.argv[3:]),
    )
    sys.exit(run_plain(setup))
