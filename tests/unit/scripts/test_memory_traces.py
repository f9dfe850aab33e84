"""Recorded memory, replayed through the watch's own decisions: no false alarm, no balloon missed.

`scripts/replay_memory` does the same for a whole day of each recording.
"""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memory_traces import trace
from memory_traces.cli import JUMP_S, LATEST_S, RATES, RESERVES, main
from memory_traces.replay import Stage, play, stages
from runner.engine.process import memory_watch

FILES = sorted((Path(__file__).parents[2] / "data/traces").glob("*.tsv.gz"))
STAGES = dict(stages(RESERVES, (1.0, 4.0)))
# Four times as fast, some of what is recorded falls as a balloon does, and is ended as one where
# memory is low already.
JUDGED = [name for name, stage in STAGES.items() if not stage.low or stage.scale == 1]
GIB = 1 << 30
SECONDS = 300.0


def name_of(path: Path) -> str:
    return path.name.partition(".")[0]


@pytest.fixture(scope="module", params=FILES, ids=name_of)
def recorded(request: pytest.FixtureRequest) -> trace.Trace:
    return trace.read(request.param)


def test_recordings_are_small_and_of_what_they_should_be() -> None:
    assert {"build", "browser", "page_cache", "swap"} <= set(map(name_of, FILES))
    for path in FILES:
        found = trace.read(path)
        assert path.stat().st_size < 100_000
        assert found.note
        assert found.looks[-1].at > 60
        # Four looks a second, and no longer a gap than a busy machine makes.
        steps = [b.at - a.at for a, b in zip(found.looks, found.looks[1:], strict=False)]
        assert 0.24 < sorted(steps)[len(steps) // 2] < 0.35
        assert all(0 < look.available <= found.total for look in found.looks)


@pytest.mark.parametrize("name", JUDGED)
def test_nothing_that_was_recorded_is_an_alarm(recorded: trace.Trace, name: str) -> None:
    stage = STAGES[name]
    jumps = ((60.0, JUMP_S), (120.0, -5.0), (200.0, JUMP_S))
    seen = play(recorded, replace(stage, jumps=jumps), SECONDS)
    assert seen.looks > 4 * SECONDS - 10
    assert seen.over == 0
    assert seen.low == 0 or stage.low


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["planned, 2 GiB, x1", "planned, 6.25 GiB, x4"])
def test_a_balloon_in_any_of_them_is_seen_in_time(
    recorded: trace.Trace, name: str, rate: float
) -> None:
    for part in (0.1, 0.45, 0.8):
        start = recorded.looks[-1].at * part
        seen = play(recorded, replace(STAGES[name], balloon=(start, rate * GIB)), start + 600)
        assert seen.first is not None
        at, left, late = seen.first
        assert at > start
        assert late <= LATEST_S
        assert left > STAGES[name].floors.least - rate * GIB * LATEST_S


def test_these_tests_see_a_watch_that_is_too_nervous_or_too_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = trace.read(next(path for path in FILES if name_of(path) == "build"))
    stage = STAGES["short, 2 GiB, x1"]
    with monkeypatch.context() as broken:
        broken.setattr(memory_watch, "AHEAD_S", 20.0)
        assert play(found, stage, SECONDS).over
    with monkeypatch.context() as broken:
        broken.setattr(memory_watch, "LONGEST_S", 3.0)
        broken.setattr(memory_watch, "SHORTEST_S", 3.0)
        late = play(found, replace(stage, balloon=(10.0, 4 * GIB)), 600).first
        assert late is None or late[2] > LATEST_S
    with monkeypatch.context() as broken:
        broken.setattr(memory_watch, "STALLED_LOW", 0.0)
        assert play(found, STAGES["planned, 2 GiB, x1"], SECONDS).low


def test_a_standstill_beside_an_engine_that_has_room_ends_nothing() -> None:
    """Half a minute in which nobody got on, as a container that is held back causes it."""
    looks = tuple(
        trace.Look(at / 4, 20 * GIB, 0, min(max(0.0, at / 4 - 30), 30.0)) for at in range(400)
    )
    frozen = trace.Trace("standstill", "", 24 * GIB, looks)
    floors = STAGES["edge, 2 GiB, x1"].floors
    assert play(frozen, Stage(floors, 2 * floors.low), 100).low == 0
    told = play(frozen, Stage(floors, floors.low), 100)
    assert (told.low, told.over) == (1, 0), "told, as there is little left, and no more"
    ended = play(frozen, Stage(floors, floors.low - 1), 100)
    assert ended.first is not None, "below the first floor it is over"
    assert 36 <= ended.first[0] <= 38


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [(250 * n, 9000 - n, 5, 6, 7, n, 3 * n, 0, 0) for n in range(9)]
    path = tmp_path / "x.tsv.gz"
    trace.write(path, ["what: a test", "memory_kib: 10000"], rows)
    found = trace.read(path)
    assert (found.name, found.note, found.total) == ("x", "a test", 10_000 << 10)
    assert found.looks[8] == trace.Look(2.0, 8992 << 10, 7 << 10, 24e-6)
    trace.write(path, ["memory_kib: 1"], [])
    with pytest.raises(ValueError, match="no looks"):
        trace.read(path)


@pytest.mark.skipif(
    sys.platform != "linux" or not Path("/proc/pressure/memory").exists(), reason="reads /proc"
)
def test_a_machine_is_recorded_and_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "here.tsv.gz"
    script = Path(__file__).parents[3] / "scripts/record_memory"
    words = ["--out", str(path), "--note", "this test", "--seconds", "1.2"]
    subprocess.run([sys.executable, str(script), *words], check=True, timeout=60)
    assert len(trace.read(path).looks) >= 3
    shutil.copy(FILES[0], path)
    assert main([str(path), "--hours", "0.02"]) == 0
    assert "0 false alarms, 0 balloons" in capsys.readouterr().out
