"""Records what Linux says of its memory four times a second, while a command runs or so long."""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from memory_traces import trace

EVERY_S = 0.25


def main(argv: list[str]) -> int:
    """Record; returns the command's exit status."""
    parser = argparse.ArgumentParser(prog="record_memory", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file to write (.tsv.gz)")
    parser.add_argument("--note", required=True, help="what runs meanwhile")
    parser.add_argument("--seconds", type=float, default=600.0, help="no longer than this")
    parser.add_argument("command", nargs="*", help="what to run (default: nothing)")
    asked = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        parser.error("only Linux has /proc/meminfo")
    running = subprocess.Popen(asked.command) if asked.command else None
    rows, first = [], _look(0)
    began = time.monotonic()
    notes = [
        f"what: {asked.note}",
        f"machine: Linux {platform.release()}, {os.cpu_count()} cores",
        f"memory_kib: {_meminfo()['MemTotal:']}",
    ]
    while (now := time.monotonic()) - began < asked.seconds:
        row = _look(round((now - began) * 1e3))
        # Counters of the whole machine begin with the recording.
        counted = (new - old for new, old in zip(row[5:], first[5:], strict=True))
        rows.append((*row[:5], *counted))
        if running is not None and running.poll() is not None:
            break
        time.sleep(max(0.0, EVERY_S - (time.monotonic() - now)))
    size = trace.write(asked.out, notes, rows)
    print(f"{len(rows)} looks in {time.monotonic() - began:.0f} s: {asked.out}, {size} bytes")
    if running is None:
        return 0
    if running.poll() is None:
        running.terminate()
    return running.wait()


def _meminfo() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    return {words[0]: int(words[1]) for words in lines}


def _look(ms: int) -> tuple[int, ...]:
    memory = _meminfo()
    lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    swapped = dict(line.split() for line in lines if line.startswith("pswp"))
    pressure = Path("/proc/pressure/memory").read_text("ascii").splitlines()
    some, full = (int(line.rpartition("total=")[2]) for line in pressure)
    return (
        *(ms, memory["MemAvailable:"], memory["MemFree:"], memory["Cached:"]),
        *(memory["SwapFree:"], some, full, int(swapped["pswpin"]), int(swapped["pswpout"])),
    )
