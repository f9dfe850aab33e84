"""Replays recordings of memory, and prints how often the watch was wrong."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from memory_traces import trace
from memory_traces.replay import play, stages

GIB = 1 << 30
HERE = Path(__file__).resolve().parents[2] / "tests/data/traces"
# What plans keep: of a GB10, and of most others.
RESERVES = (2 * GIB, 25 * GIB // 4)
SCALES = (1.0, 4.0)
JUMP_S = 8 * 3600.0
RATES = (0.1, 1.0, 4.0)  # GiB a second
LATEST_S = 0.3


def main(argv: list[str]) -> int:
    """Replay; returns 1 for a false alarm, or a balloon that was seen too late or not at all."""
    parser = argparse.ArgumentParser(prog="replay_memory", description=__doc__)
    parser.add_argument("traces", nargs="*", type=Path, help="default: those of the tests")
    parser.add_argument("--hours", type=float, default=24.0, help="each recording is repeated")
    asked = parser.parse_args(argv)
    files = asked.traces or sorted(HERE.glob("*.tsv.gz"))
    false = needless = missed = 0
    hours = asked.hours
    for path in files:
        found = trace.read(path)
        print(f"{found.name}: {found.note} ({found.looks[-1].at:.0f} s, repeated)")
        for name, stage in stages(RESERVES, SCALES):
            seconds, began = hours * 3600, time.perf_counter()
            # Twice a night goes by of which the watch sees nothing, and once the clock goes back.
            jumps = ((seconds / 4, JUMP_S), (seconds / 2, -5.0), (seconds * 3 / 4, JUMP_S))
            seen = play(found, replace(stage, jumps=jumps), seconds)
            if stage.low:
                needless += seen.over
            else:
                false += seen.low + seen.over
            late = []
            for number, rate in enumerate(RATES * 3):
                start = found.looks[-1].at * (number + 1) / 10
                balloon = replace(stage, balloon=(start, rate * GIB))
                burst = play(found, balloon, start + 600)
                late.append(burst.first[2] if burst.first else float("inf"))
            missed += sum(each > LATEST_S for each in late)
            print(
                f"  {name:22} {seen.looks:9,} looks in {hours:g} h: {seen.low} low, "
                f"{seen.over} over; balloons: over {sum(e <= LATEST_S for e in late)} of "
                f"{len(late)}, at the latest {max(late) * 1e3:.0f} ms after the second floor "
                f"({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    print(f"{false} false alarms, {missed} balloons not seen in time")
    print(f"{needless} stops while memory was low, which it survived in the recording")
    return 1 if false or missed else 0
