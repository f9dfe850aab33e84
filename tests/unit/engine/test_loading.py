"""How far an engine has loaded its weights, seen from outside."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.engine.process import loading
from runner.engine.process.loading import LoadMeter, taken_in

MIB = 1 << 20
# Say that all is read, and wait for the end of standard input.
END = "print('read', flush=True); sys.stdin.read()"
READS = (
    "import sys; data = open(sys.argv[1], 'rb', 0); "
    f"seen = sum(len(piece) for piece in iter(lambda: data.read({MIB}), b'')); {END}"
)
MAPS = (
    "import mmap, sys; file = open(sys.argv[1], 'rb'); "
    "data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); "
    f"seen = sum(data[at] for at in range(0, len(data), 4096)); {END}"
)


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has read is counted elsewhere")
@pytest.mark.parametrize("code", [READS, MAPS])
def test_weights_that_are_read_and_that_are_mapped_both_count(code: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(64 * MIB))
    argv = [sys.executable, "-c", code, str(tmp_path / "weights")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"read\n"
        assert 64 * MIB <= taken_in(child.pid) < 128 * MIB
        child.communicate(b"")
    assert taken_in(child.pid) == 0, "it has ended"


def test_a_process_is_looked_at_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = [100.0], list[int]()

    def look(pid: int) -> int:
        looks.append(pid)
        return len(looks) << 30

    monkeypatch.setattr(loading, "taken_in", look)
    monkeypatch.setattr("runner.engine.process.loading.time.monotonic", lambda: now[0])
    meter = LoadMeter(100 << 30)
    assert meter.look(0) is None, "it has not started"
    for tick in range(41):
        now[0] = 100 + tick / 20
        loaded = meter.look(7)
    assert looks == [7, 7, 7]
    assert loaded is not None
    assert loaded.percent == 3
