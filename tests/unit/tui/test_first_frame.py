"""What a chat does without until its window is on the screen."""

import os
import subprocess
import sys

import pytest

HEAVY = {
    "httpx2",
    "markdown_it",
    "pygments",
    "PIL",
    "runner.run.prepare",
    "runner.gateway.run",
    "sqlite3",
}


@pytest.mark.parametrize("kind", ["remote_chat", "chat_here"])
def test_nothing_heavy_is_imported_before_the_first_frame(kind: str) -> None:
    code = (
        "import sys, runner.cli.main, runner.cli.commands.chat, runner.tui.app, "
        f"runner.cli.{kind} as _; print(*sorted({HEAVY!r} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert ran.stdout.split() == []
