"""Runs the chat against a fake host in a real terminal: for the tests that need one.

Usage: chat_program.py URL LEFT_FILE [SESSION]. LEFT_FILE is written when the host is left.
"""

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from runner.chat.host import ChatSetup
from runner.chat.wire import Options
from runner.tui.app import ChatApp
from tests.fakes.sse_server import FakeHost

LEFT = Path(sys.argv[2])


@contextlib.asynccontextmanager
async def open_host() -> AsyncIterator[FakeHost]:
    try:
        yield FakeHost(sys.argv[1])
    finally:
        LEFT.write_text("left")


if __name__ == "__main__":
    session = sys.argv[3] if len(sys.argv) > 3 else ""
    app = ChatApp(
        ChatSetup("Fake 1B", open_host, Options(), context=4096, sees=True, resume=session)
    )
    app.run()
    print(*app.farewell, sep="\n")
    sys.exit(app.return_code)
