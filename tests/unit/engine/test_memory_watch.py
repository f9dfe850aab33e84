"""The watch over memory: what it decides, what it reads, and that it ends an engine in time."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.errors import SteprunError
from runner.engine.process import guard, memory_watch
from runner.engine.process.guarded import Guarded
from runner.engine.process.memory_watch import AGAIN, LONGEST_S, SHORTEST_S, Judge, LinuxMeter
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import Floors, LaunchSpec

GIB, MIB = 1 << 30, 1 << 20
FAKE = Path(__file__).parents[2] / "fakes" / "engine.py"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
# Takes 32 MiB at a time, until it has so many bytes; its input's end ends it.
BALLOON = """
import sys, time
held, most = [], int(sys.argv[1])
while sum(map(len, held)) < most:
    held.append(bytearray(b"x" * (32 << 20)))
    time.sleep(0.02)
print("full", flush=True)
sys.stdin.read()
"""


# --- what it decides


@given(st.lists(st.integers(1000, 10_000), max_size=40), st.integers(1, 400))
def test_nothing_is_stopped_while_more_is_left_than_the_first_floor(
    readings: list[int], step_ms: int
) -> None:
    judge = Judge(1000, 600)
    for number, left in enumerate(readings):
        assert judge.look(number * step_ms / 1000, left) != "over"


@given(st.lists(st.integers(0, 10_000), max_size=40), st.integers(0, 599))
def test_below_the_second_floor_it_is_always_over(before: list[int], left: int) -> None:
    judge = Judge(1000, 600)
    for number, reading in enumerate(before):
        judge.look(number * 0.02, reading)
    assert judge.look(len(before) * 0.02, left) == "over"


def test_a_fast_fall_below_the_first_floor_is_over_before_the_second() -> None:
    slow, fast = Judge(1000, 600), Judge(1000, 600)
    assert [slow.look(at / 10, 1100 - 20 * at) for at in range(12)][-1] == "low"  # 200 a second
    assert [fast.look(at / 10, 1200 - 200 * at) for at in range(3)][-1] == "over"  # 800 left


def test_it_is_fine_again_only_well_above_the_floor() -> None:
    judge = Judge(1000, 600)
    assert judge.look(0, 990) == "low"
    assert judge.look(10, 1010) == "low"
    assert judge.look(20, int(1000 * AGAIN)) == "fine"
    assert judge.look(30, 1010) == "fine"


def test_it_looks_more_often_the_nearer_the_floor_is() -> None:
    judge = Judge(GIB, GIB // 2)
    assert judge.pause(100 * GIB) == LONGEST_S
    assert judge.pause(GIB // 2) == SHORTEST_S
    # Whatever takes memory, it is not below the first floor before the next look.
    near = GIB + GIB // 2
    assert judge.pause(near) * memory_watch.FASTEST <= near - GIB


# --- what it reads (files as Linux writes them)


def tree(root: Path, files: dict[str, str | int]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def meminfo(available: int) -> str:
    return f"MemTotal: {24 * GIB // 1024} kB\nMemAvailable: {available // 1024} kB\nBuffers: 1 kB"


def test_it_reads_what_linux_calls_available(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/meminfo": meminfo(5 * GIB), "proc/self/cgroup": "0::/"})
    assert LinuxMeter(1, 0, root).left() == 5 * GIB


def test_no_reading_is_no_figure(tmp_path: Path) -> None:
    assert LinuxMeter(1, 0, tmp_path).left() is None
    tree(tmp_path, {"proc/meminfo": "MemTotal: 5 kB"})
    assert LinuxMeter(1, 0, tmp_path).left() is None


def test_mapped_weights_count_as_taken(tmp_path: Path) -> None:
    status = f"Name: x\nRssAnon: 9 kB\nRssFile:\t {2 * GIB // 1024} kB\nRssShmem: 0 kB"
    root = tree(tmp_path, {"proc/meminfo": meminfo(5 * GIB), "proc/7/status": status})
    assert LinuxMeter(7, 0, root).left() == 5 * GIB
    assert LinuxMeter(7, 8 * GIB, root).left() == 3 * GIB
    assert LinuxMeter(7, GIB, root).left() == 4 * GIB  # its libraries are nobody's weights


@pytest.mark.parametrize("high", [False, True])
def test_a_group_of_version_2_and_those_around_it(tmp_path: Path, *, high: bool) -> None:
    top = "sys/fs/cgroup/a"
    files: dict[str, str | int] = {
        f"{top}/memory.max": "max" if high else 4 * GIB,
        f"{top}/memory.high": 4 * GIB if high else "max",
        "proc/meminfo": meminfo(20 * GIB),
        "proc/self/cgroup": "0::/a/b",
        f"{top}/b/memory.max": "max",
        f"{top}/b/memory.current": GIB,
        f"{top}/memory.current": 3 * GIB,
        f"{top}/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file {GIB // 2}",
    }
    meter = LinuxMeter(1, 0, tree(tmp_path, files))
    assert meter.left() == 5 * GIB // 2
    # A limit that is lowered under a running engine counts from then on.
    tree(tmp_path, {f"{top}/b/memory.max": 2 * GIB, f"{top}/b/memory.stat": "inactive_file 0"})
    assert meter.left() == GIB
    tree(tmp_path, {f"{top}/b/memory.max": GIB // 2})
    assert meter.left() == 0


def test_a_group_of_version_1_in_a_container_that_shows_it_as_the_top(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/memory"
    files: dict[str, str | int] = {
        "proc/meminfo": meminfo(20 * GIB),
        "proc/self/cgroup": "5:cpu:/\n4:memory:/docker/abc\n0::/",
        f"{top}/memory.limit_in_bytes": 2 * GIB,
        f"{top}/memory.usage_in_bytes": GIB,
        f"{top}/memory.stat": f"inactive_file 7\ntotal_inactive_file {MIB}\ntotal_active_file 0",
    }
    root = tree(tmp_path, files)
    assert LinuxMeter(1, 0, root).left() == GIB + MIB
    tree(tmp_path, {f"{top}/memory.limit_in_bytes": 9_223_372_036_854_771_712})
    assert LinuxMeter(1, 0, root).left() == 20 * GIB


@linux
def test_what_it_reads_here_is_what_psutil_does() -> None:
    left = LinuxMeter(1, 0).left()
    assert left is not None
    assert 0 < left <= psutil.virtual_memory().available + GIB


# --- that it acts (a real balloon)


def left_now() -> int:
    left = LinuxMeter(1, 0).left()
    assert left is not None
    return left


@linux
async def test_an_engine_is_stopped_before_the_memory_is_gone(home: Path) -> None:
    room = 384 * MIB
    floors = Floors(low=left_now() - room // 2, least=left_now() - room)
    engine = EngineProcess([sys.executable, str(FAKE), "ready"], LaunchSpec((), floors=floors))
    async with engine:
        await engine.wait_ready()
        argv = [sys.executable, "-c", BALLOON, str(4 * GIB)]
        balloon = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            for _ in range(1500):
                if not engine.alive():
                    break
                await asyncio.sleep(0.02)
            assert not engine.alive()
            assert balloon.poll() is None  # nobody else was harmed
            error = engine.verdict()
        finally:
            balloon.kill()
            balloon.communicate()
    assert "before this machine ran out of memory" in error.what
    assert f"{floors.least >> 20:,} must stay" in error.why
    assert isinstance(error, SteprunError)
    assert not engine.gave_up
    assert engine.short_of_memory


@linux
async def test_it_is_not_started_again_before_there_is_room_for_what_it_took(home: Path) -> None:
    floors = Floors(low=1, least=1)
    engine = EngineProcess([sys.executable, str(FAKE), "ready"], LaunchSpec((), floors=floors))
    async with engine:
        await engine.wait_ready()
    assert engine.lacks_memory() == 0, "it did not lack any"
    engine.short_of_memory = True
    engine._took = left_now() + GIB
    assert 0 < engine.lacks_memory() <= 2 * GIB
    engine._took = 0
    assert engine.lacks_memory() == 0


@linux
async def test_one_that_was_stopped_while_loading_waits_for_what_was_planned(home: Path) -> None:
    left = left_now()
    floors = Floors(low=left + 2 * GIB, least=left + GIB)
    spec = LaunchSpec((), total_bytes=7 * MIB, floors=floors)
    engine = EngineProcess([sys.executable, str(FAKE), "ready"], spec)
    async with engine, asyncio.timeout(10):
        while engine.alive():
            await asyncio.sleep(0.02)
        engine.verdict()
        assert engine.short_of_memory
        assert engine.lacks_memory() <= 3 * GIB, "not for all that was free before"
        engine._before = 1 << 50  # where there was plenty, the plan decides
        engine.verdict()
        assert engine._took == spec.total_bytes


@linux
def test_a_look_leaves_no_file_open() -> None:
    me = psutil.Process()
    memory_watch.left_now(me.pid, GIB)
    before = me.num_fds()
    for _ in range(20):
        memory_watch.left_now(me.pid, GIB)
    assert me.num_fds() == before


@linux
def test_its_owner_hears_that_memory_is_short_and_when_it_is_not(tmp_path: Path) -> None:
    floors = Floors(low=left_now() + GIB, least=1)
    with Guarded([sys.executable, "-c", "input()"], tmp_path / "log", floors=floors):
        pass
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with Guarded(argv, tmp_path / "log", floors=floors) as guarded:
        deadline = time.monotonic() + 20
        while guarded.memory_left is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert guarded.memory_left is not None
        assert guarded.memory_left < floors.low


def test_a_reading_that_fails_does_not_end_the_watch() -> None:
    readings = iter([OSError("gone"), ValueError("odd"), None, 10])

    class Odd:
        def left(self) -> int | None:
            reading = next(readings)
            if isinstance(reading, Exception):
                raise reading
            return reading

    killed: list[str] = []
    engine: Any = SimpleNamespace(pid=1, returncode=None, kill=lambda: killed.append("killed"))
    watch: Any = SimpleNamespace(
        meter=lambda *_: Odd(), Judge=Judge, LONGEST_S=0, MARK="x", give_back=lambda _: None
    )
    log: Any = SimpleNamespace(write=killed.append)
    floors: Any = SimpleNamespace(low=100, least=50, mapped=0)
    guard._watch_memory(engine, log, watch, floors)
    assert killed[0] == "killed"
