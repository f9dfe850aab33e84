"""What a chat does without until its window is on the screen."""

import gc
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from runner.tui.status import ChatStatus
from runner.tui.view import StatusLine, _preload

HEAVY = {
    "mcp",
    "pydantic",
    "httpx2",
    "markdown_it",
    "pygments",
    "PIL",
    "runner.run.prepare",
    "runner.gateway.run",
    "sqlite3",
    "filelock",
    "html.entities",
    "runner.catalog.model",
}
# All that is imported takes three quarters of the time to the first frame: 600 modules and more.
# There were 150 of ours, and 155 of Textual's. What is needed only later belongs later.
MOST_MODULES = {"runner": 175, "textual": 170}


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


@pytest.mark.parametrize("kind", ["remote_chat", "chat_here"])
def test_no_more_is_imported_before_the_first_frame_than_there_is_time_for(kind: str) -> None:
    code = (
        "import sys, runner.cli.main, runner.cli.commands.chat, runner.tui.app, "
        f"runner.cli.{kind} as _; print(*(name.partition('.')[0] for name in sys.modules))"
    )
    argv = [sys.executable, "-c", code]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, env=os.environ)
    names = ran.stdout.split()
    assert {name: names.count(name) for name, most in MOST_MODULES.items()} == {
        name: min(names.count(name), most) for name, most in MOST_MODULES.items()
    }


def test_what_is_there_at_the_first_frame_is_never_looked_through_for_garbage() -> None:
    gc.disable()  # as the command does
    try:
        _preload()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.enable()
        gc.unfreeze()
    _preload()  # where the command did not: a test, say
    assert gc.get_freeze_count() == 0


async def test_figures_are_written_twice_a_second_and_what_goes_on_at_once(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("runner.tui.view.time", SimpleNamespace(monotonic=lambda: now[0]))
    line = StatusLine()
    drawn: list[ChatStatus] = []
    monkeypatch.setattr(line, "_draw", lambda: drawn.append(line._status))
    for tick in range(11):
        now[0] = 100 + tick / 10
        line.show(ChatStatus("m", "answering", rate=float(tick + 1)))
    assert [status.rate for status in drawn] == [1, 6, 11]
    line.show(ChatStatus("m", "ready", rate=12.0))
    assert (drawn[-1].state, drawn[-1].rate) == ("ready", 12)
