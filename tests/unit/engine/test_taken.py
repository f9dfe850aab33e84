"""What an engine takes, by what Linux shows; the files are as the kernel writes them."""

import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from runner.base.units import GIB, MIB
from runner.engine.process.lesson_book import recall
from runner.engine.process.supervisor import EngineProcess
from runner.engine.process.taken import STEADY, MemoryTaken
from runner.plan.launch import Expected, Floors, LaunchSpec
from runner.plan.memory.lessons import lesson

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
FAKE = Path(__file__).parents[2] / "fakes" / "engine.py"


class Files:
    """A machine of 128 GiB with one engine, and with a driver that holds what no program does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/7").mkdir(parents=True)
        self.has(0, 0)

    def has(self, own: int, driver: int, files: int = 0) -> None:
        named = 3 * GIB + own
        free = 128 * GIB - named - driver - GIB
        fields = {"MemTotal": 128 * GIB, "MemFree": free, "Buffers": 0, "Cached": 2 * GIB}
        fields |= {"AnonPages": named - 2 * GIB - MIB, "Slab": MIB}
        lines = (f"{name}: {size >> 10} kB" for name, size in fields.items())
        (self.root / "proc/meminfo").write_text("\n".join(lines))
        (self.root / "proc/7/status").write_text(
            f"Name:\tx\nRssAnon:\t{own >> 10} kB\nRssFile:\t{files >> 10} kB\nRssShmem:\t0 kB"
        )


def test_what_it_holds_itself_and_of_its_weights_is_its_own(tmp_path: Path) -> None:
    files = Files(tmp_path)
    taken = MemoryTaken(4 * GIB, tmp_path)
    for own in (GIB, 3 * GIB, 2 * GIB):
        files.has(own, 0, 9 * GIB)
        taken.look(7)
    assert taken.own == taken.all == 7 * GIB, "the most, and no more files than are weights"
    (tmp_path / "proc/7/status").unlink()
    taken.look(7)
    assert taken.own == 7 * GIB


def test_what_disappears_is_a_driver_s_where_it_stays_away(tmp_path: Path) -> None:
    files = Files(tmp_path)
    taken = MemoryTaken(0, tmp_path)
    for at in range(3 * STEADY):
        files.has(GIB, 50 * GIB if at > STEADY else (at % 2) * 9 * GIB)
        taken.look(7)
    assert (taken.own, taken.all) == (GIB, 51 * GIB)
    for at in range(STEADY):
        files.has(GIB, 50 * GIB + (at % STEADY) * GIB)  # for a moment there was more
        taken.look(7)
    assert taken.all == 51 * GIB


def test_where_the_kernel_names_little_no_driver_is_guessed(tmp_path: Path) -> None:
    files = Files(tmp_path)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9999999 kB\n")
    taken = MemoryTaken(0, tmp_path)
    for _ in range(STEADY):
        files.has(GIB, 20 * GIB)
        taken.look(7)
    assert taken.all == GIB


def test_this_process_holds_what_psutil_says(home: Path) -> None:
    taken, memory = MemoryTaken(), psutil.Process().memory_info()
    taken.look(os.getpid())
    assert abs(taken.own - (memory.rss - memory.shared)) < 32 * MIB


async def test_a_run_that_took_more_teaches_the_next_plan(home: Path) -> None:
    """A real process that holds 400 MiB more than was counted, started and stopped twice."""
    expected = Expected("key", 8 * MIB, "fake")
    spec = LaunchSpec((), floors=Floors(2, 1), expected=expected)
    program = [sys.executable, str(FAKE), "large"]
    for _ in range(2):
        async with EngineProcess(program, spec) as engine:
            await engine.wait_ready()
    found = lesson(recall("key"), 128 * GIB)
    assert found is not None
    assert 300 * MIB < found.bytes < 600 * MIB
    assert (found.runs, found.model) == (2, "fake")


async def test_one_that_never_got_ready_teaches_nothing(home: Path) -> None:
    spec = LaunchSpec((), floors=Floors(2, 1), expected=Expected("key", 0))
    async with EngineProcess([sys.executable, str(FAKE), "ready"], spec):
        await asyncio.sleep(1.2)
    assert recall("key") == []
