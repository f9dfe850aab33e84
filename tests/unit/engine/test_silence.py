"""A guard that no longer watches is noticed: stopped, it goes on; where it does not, all ends."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from runner.engine.process import guarded, silence
from runner.engine.process.guarded import Guarded
from runner.engine.process.silence import END_LOOKS, WAKE_LOOKS, Silence
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import Floors, LaunchSpec

FAKE = Path(__file__).parents[2] / "fakes" / "engine.py"
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
NEVER = Floors(low=2, least=1)


class _Deaf(Silence):
    def look(self, heard: int) -> silence.Remedy:
        remedy = super().look(heard)
        return "" if remedy == "wake" else remedy


def test_one_that_speaks_is_left_alone() -> None:
    counted = Silence()
    assert {counted.look(heard // WAKE_LOOKS) for heard in range(1000)} == {""}


def test_one_that_is_silent_is_woken_and_in_the_end_ended() -> None:
    counted = Silence()
    found = [counted.look(7) for _ in range(END_LOOKS + 1)]
    woken = [at for at, each in enumerate(found) if each == "wake"]
    assert woken == list(range(WAKE_LOOKS, END_LOOKS, WAKE_LOOKS))
    assert found[END_LOOKS] == "end"
    assert counted.look(8) == ""


@posix
def test_a_guard_that_was_stopped_is_made_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "LOOK_S", 0.15)  # woken after 1.5 s of silence
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with Guarded(argv, tmp_path / "log", floors=NEVER) as running:
        guard = psutil.Process(running._guard.pid)
        guard.suspend()
        heard, deadline = running.heard + 2, time.monotonic() + 20
        while running.heard < heard and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running.heard >= heard
        assert running.status() is None
        assert not running.unwatched


@posix
async def test_where_it_stays_stopped_the_engine_ends_and_it_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "LOOK_S", 0.05)
    # As for one in a debugger, which no signal reaches.
    monkeypatch.setattr(guarded, "Silence", _Deaf)
    program = [sys.executable, str(FAKE), "ready"]
    async with EngineProcess(program, LaunchSpec((), floors=NEVER)) as engine:
        await engine.wait_ready()
        running = engine._running
        assert running is not None
        os.kill(running._guard.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while engine.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not engine.alive()
        assert running.unwatched
        error = engine.verdict()
        pid = engine.pid
    assert "nothing watched this machine's memory" in error.what
    assert f"{END_LOOKS * silence.LOOK_S:.0f} s" in error.why
    assert not engine.gave_up, "it is to be started again"
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@posix
async def test_a_guard_that_is_killed_leaves_no_engine_behind(home: Path) -> None:
    program = [sys.executable, str(FAKE), "ready"]
    async with EngineProcess(program, LaunchSpec((), floors=NEVER)) as engine:
        await engine.wait_ready()
        assert engine._running is not None
        os.kill(engine._running._guard.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while engine.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not engine.alive()
    # On Linux it has died with its guard, elsewhere its owner has ended it.
    assert not psutil.pid_exists(engine.pid) or (
        psutil.Process(engine.pid).status() == psutil.STATUS_ZOMBIE
    )
