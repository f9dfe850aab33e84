"""Measures the watch beside an engine: its share of a core, its memory, how late it is heard.

An idle program stands in for the engine. `far`: more is left than it will ever look for; `low`: as
much as the first floor all the time, where it looks most often. With `--busy`, so many programs
that never wait run beside it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from runner.engine.process.guarded import Guarded
from runner.engine.process.memory_watch import left_now
from runner.plan.launch import Floors

IDLE = [sys.executable, "-c", "import time; time.sleep(86400)"]
BUSY = [sys.executable, "-c", "while True: pass"]
MIB = 1 << 20


def main(argv: list[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="measure_watch", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--busy", type=int, default=0, help="programs that use a core each")
    asked = parser.parse_args(argv)
    busy = [subprocess.Popen(BUSY) for _ in range(asked.busy)]
    try:
        left = left_now() or 0
        for name, floors in (("far", Floors(2, 1)), ("low", Floors(2 * left, 1))):
            _measure(name, floors, asked.seconds)
    finally:
        for each in busy:
            each.kill()
            each.wait()
    return 0


def _measure(name: str, floors: Floors, seconds: float) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Guarded(IDLE, Path(folder) / "log", floors=floors) as running,
    ):
        guard = psutil.Process(psutil.Process(running.pid).ppid())
        time.sleep(2)
        began, before = time.monotonic(), sum(guard.cpu_times()[:2])
        heard, at, worst = running.heard, began, 0.0
        while (now := time.monotonic()) - began < seconds:
            if running.heard != heard:
                heard, at = running.heard, now
            worst = max(worst, now - at)
            time.sleep(0.02)
        spent = sum(guard.cpu_times()[:2]) - before
        memory = guard.memory_full_info()
        print(
            f"{name}: {spent / (now - began):.2%} of a core, {memory.rss / MIB:.1f} MiB RSS "
            f"({memory.uss / MIB:.1f} of its own); heard once a second, {worst:.2f} s at worst"
        )
