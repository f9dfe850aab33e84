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
    "html.entities",
    "runner.catalog.model",
}
# All that is imported takes three quarters of the time to the first frame: 600 modules and more.
# There were 148 of ours, and 160 of Textual's. What is needed only later belongs later.
MOST_MODULES = {"runner": 175, "textual": 170}


# Opens a chat as the command does, and tells what is imported once its window is drawn.
CODE = """
import os, sys
import runner.cli.main, runner.cli.commands.chat, runner.cli.KIND
from runner.chat.host import ChatSetup
from runner.chat.wire import Options
from runner.tui.app import ChatApp

def tell(app):
    print(*sys.modules, file=sys.__stdout__, flush=True)
    os._exit(0)

ChatApp.on_ready = tell
ChatApp(ChatSetup("Step", lambda: None, Options())).run(headless=True, size=(80, 24))
"""


@pytest.fixture(scope="module", params=["remote_chat", "chat_here"])
def imported(request: pytest.FixtureRequest, tmp_path_factory) -> list[str]:
    """Return the names of all that is imported at the first frame."""
    argv = [sys.executable, "-c", CODE.replace("KIND", request.param)]
    env = {**os.environ, "STEPRUN_HOME": str(tmp_path_factory.mktemp("home"))}
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, env=env)
    names = ran.stdout.split()
    assert "runner.tui.app" in names
    return names


def test_nothing_heavy_is_imported_before_the_first_frame(imported: list[str]) -> None:
    assert sorted(HEAVY & set(imported)) == []


@pytest.mark.parametrize(("package", "most"), MOST_MODULES.items())
def test_no_more_is_imported_than_there_is_time_for(
    imported: list[str], package: str, most: int
) -> None:
    assert sum(name.partition(".")[0] == package for name in imported) <= most


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
