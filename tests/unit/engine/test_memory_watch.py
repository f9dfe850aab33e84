"""The watch over memory: what it decides, what it reads, and that it ends an engine in time."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.errors import SteprunError
from runner.engine.process import guard, memory_signs, memory_watch
from runner.engine.process.guarded import Guarded
from runner.engine.process.memory_watch import (
    AGAIN,
    LONGEST_S,
    SHORTEST_S,
    STALLED,
    STALLED_LOW,
    Judge,
    LinuxMeter,
)
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


@given(st.lists(st.integers(0, 10_000), max_size=40), st.integers(0, 599), st.integers(0, 599))
def test_below_the_second_floor_it_is_always_over(before: list[int], one: int, two: int) -> None:
    judge = Judge(1000, 600)
    for number, reading in enumerate(before):
        judge.look(number * 0.02, reading)
    judge.look(len(before) * 0.02, one)
    assert judge.look(len(before) * 0.02 + 0.02, two) == "over"


@given(
    st.lists(st.integers(1000, 10_000), min_size=2, max_size=40),
    st.integers(0, 1 << 62),
    st.data(),
)
def test_a_single_reading_that_lies_changes_nothing(
    readings: list[int], lie: int, data: st.DataObject
) -> None:
    readings.insert(data.draw(st.integers(0, len(readings))), lie)
    judge = Judge(1000, 600)
    for number, left in enumerate(readings):
        assert judge.look(number * 0.02, left) != "over"
        assert judge.pause(left) <= LONGEST_S


def test_after_a_reading_that_is_too_high_it_still_looks_often() -> None:
    judge = Judge(GIB, GIB // 2)
    for number, left in enumerate((GIB, GIB, 1 << 62)):
        judge.look(number * 0.02, left)
    assert judge.pause(1 << 62) == SHORTEST_S


@given(st.lists(st.tuples(st.integers(1000, 9000), st.floats(0, 1), st.integers(0, 9000))))
def test_no_sign_ends_an_engine_above_the_first_floor(
    looks: list[tuple[int, float, int]],
) -> None:
    judge = Judge(1000, 600)
    for number, (left, stalled, swap) in enumerate(looks):
        assert judge.look(number * 0.02, left, swap, stalled) != "over"


def test_below_the_first_floor_a_standstill_is_over_above_the_second() -> None:
    for stalled, meant in ((STALLED - 0.01, "low"), (STALLED, "over")):
        judge = Judge(1000, 600)
        assert [judge.look(at, 990, 0, stalled) for at in range(2)][-1] == meant


def test_pressure_makes_memory_short_a_little_above_the_floor_and_no_further() -> None:
    for left, stalled, meant in (
        (1990, STALLED_LOW, "low"),
        (1990, STALLED_LOW - 0.01, "fine"),
        (2010, 1.0, "fine"),
    ):
        judge = Judge(1000, 600)
        assert [judge.look(at, left, 0, stalled) for at in range(3)][-1] == meant


def test_what_goes_to_swap_is_taken_all_the_same() -> None:
    still, filling = Judge(1000, 600), Judge(1000, 600)
    looks = [(at / 10, 900, 9000 - 150 * at) for at in range(4)]  # 1,500 a second
    assert [still.look(at, left, 9000) for at, left, _ in looks][-1] == "low"
    assert [filling.look(*look) for look in looks][-1] == "over"


def test_a_fast_fall_below_the_first_floor_is_over_before_the_second() -> None:
    slow, fast = Judge(1000, 600), Judge(1000, 600)
    assert [slow.look(at / 10, 1100 - 20 * at) for at in range(12)][-1] == "low"  # 200 a second
    assert [fast.look(at / 10, 1400 - 200 * at) for at in range(5)][-1] == "over"  # 600 left


def test_it_is_fine_again_only_well_above_the_floor() -> None:
    judge = Judge(1000, 600)
    assert judge.look(0, 990) == "low"
    assert judge.look(10, 1010) == "low"
    assert [judge.look(at, int(1000 * AGAIN)) for at in (20, 30)][-1] == "fine"
    assert [judge.look(at, 1010) for at in (40, 50)][-1] == "fine"


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


def test_it_reads_the_swap_and_what_was_lost_to_waiting(tmp_path: Path) -> None:
    pressure = "some avg10=9.00 avg60=0.00 avg300=0.00 total=9000000\nfull avg10=1.00 avg60=0.00 "
    files: dict[str, str | int] = {
        "proc/meminfo": meminfo(5 * GIB) + "\nSwapTotal: 8 kB\nSwapFree: 6 kB",
        "proc/self/cgroup": "0::/a",
        "proc/pressure/memory": f"{pressure}avg300=0.00 total=2500000",
        "sys/fs/cgroup/a/memory.current": 1,
        "sys/fs/cgroup/a/memory.pressure": f"{pressure}avg300=0.00 total=500000",
    }
    meter = LinuxMeter(1, 0, tree(tmp_path, files))
    meter.left()
    assert meter.swap == 6 * 1024
    assert meter.stalls() == (2.5, 0.5)
    tree(tmp_path, {"proc/pressure/memory": "full", "sys/fs/cgroup/a/memory.pressure": ""})
    assert meter.stalls() == ()
    meter.close()


def test_more_available_than_there_is_is_no_reading(tmp_path: Path) -> None:
    assert LinuxMeter(1, 0, tree(tmp_path, {"proc/meminfo": meminfo(25 * GIB)})).left() is None


def test_a_mac_counts_the_time_that_its_memory_was_critical(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = {"kern.memorystatus_level": 40, "hw.memsize": 100 * GIB}
    level = "kern.memorystatus_vm_pressure_level"
    monkeypatch.setattr(memory_watch, "_sysctl", lambda name, _: levels.get(name))
    times = iter([0.0, 0.25, 0.5, 0.75, 9000.0])
    meter = memory_watch.MacMeter(lambda: next(times))
    assert meter.left() == 39 * GIB
    counted: list[float] = []
    for levels[level] in (1, 4, 2, 4):  # a night in between counts a second
        counted += meter.stalls()
    assert counted == [0.0, 0.25, 0.25, 1.25]
    levels["kern.memorystatus_level"] = 4000
    assert meter.left() is None


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
    room, left = GIB, left_now()  # other tests take some meanwhile
    floors = Floors(low=left - room // 2, least=left - room)
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


class Odd:
    """A meter whose readings are given; what is none of a system's is a fake."""

    swap = 0

    def __init__(self, readings: list[Any], stalls: Any = ()) -> None:
        self._readings, self._stalls = iter(readings), stalls

    def left(self) -> Any:
        reading = next(self._readings)
        if isinstance(reading, Exception):
            raise reading
        return reading

    def stalls(self) -> Any:
        return self._stalls() if callable(self._stalls) else self._stalls


def watched(meter: Odd, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Return how an engine was ended and what was logged, and what the owner was told."""
    killed: list[str] = []
    said: list[str] = []
    engine: Any = SimpleNamespace(pid=1, returncode=None, kill=lambda: killed.append("killed"))

    def say(state: str, left: int) -> None:
        said.append(f"{state} {left}")
        engine.returncode = -9 if "killed" in killed else None  # it has let go of its memory

    watch: Any = SimpleNamespace(
        meter=lambda *_: meter,
        Judge=Judge,
        LONGEST_S=0,
        STALLED=STALLED,
        MARK="x",
        give_back=lambda _: None,
    )
    log: Any = SimpleNamespace(write=lambda text: killed.append(text.decode()))
    floors: Any = SimpleNamespace(low=100, least=50, mapped=0)
    voice = SimpleNamespace(say=say)
    monkeypatch.setattr(guard, "_Voice", lambda: voice)
    guard._watch_memory(engine, log, (watch, memory_signs), floors)
    return killed, said


def test_a_reading_that_fails_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [OSError("gone"), 10, ValueError("odd"), 1000, None, 10]
    killed, said = watched(Odd(readings), monkeypatch)
    assert killed[0] == "killed"
    assert said == ["blind 0", "low 10", "blind 0", "fine 1000", "blind 0", "low 10"]
    assert said[-1] == "low 10", "until it is gone: a guard that is silent is ended"


def test_a_watch_that_stays_blind_says_so_once_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = [None] * (guard.BLIND_LOOKS - 1), [None] * 3 * guard.BLIND_LOOKS
    killed, _ = watched(Odd([*few, 1000, *many, 1000, 10, 10]), monkeypatch)
    assert killed[0] == guard.BLIND.decode()
    assert killed[1] == "killed"


def test_a_sign_that_fails_or_hangs_leaves_the_watch_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails() -> tuple[float, ...]:
        raise OSError("gone")

    hung = threading.Event()
    for stalls in (fails, hung.wait, lambda: ("odd",)):
        killed, _ = watched(Odd([90] * 50 + [40, 40], stalls), monkeypatch)
        assert killed[1].startswith("\nx0 MiB of memory were left")
    hung.set()


def test_the_owner_is_told_at_once_of_what_is_new_and_else_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[bytes] = []
    times = iter([0.0, 0.1, 0.2, 1.0, 1.25])
    monkeypatch.setattr("os.set_blocking", lambda *_: None)

    def write(_: int, data: bytes) -> int:
        said.append(data)
        if len(said) == 1:
            raise BlockingIOError("the pipe is full: its owner is stopped")
        return len(data)

    voice = guard._Voice(lambda: next(times), write)
    for state in ("fine", "fine", "low", "low", "low"):
        voice.say(state, 5)
    assert said == [b"fine 5\n", b"low 5\n", b"low 5\n"]
