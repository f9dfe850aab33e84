"""`python bystander.py ENGINE LEAST MAPPED`: the desktop, which must neither die nor pause.

Touches 256 MiB of its own over and over, reads what is left, and prints one line of JSON when its
input ends: its worst pause, the least that was left, and how long after the second floor was
passed the engine was gone (seconds, bytes).
"""

import json
import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runner.engine.process.memory_watch import LinuxMeter

HELD = 256 << 20
LOOK_S = 0.005


def main(engine: int, least: int, mapped: int) -> None:
    """Look until told to end."""
    held, meter = bytearray(HELD), LinuxMeter(engine, mapped)
    below = gone = 0.0
    worst, lowest, at = 0.0, 1 << 60, 0
    print("ready", flush=True)
    before = time.monotonic()
    while not select.select([sys.stdin], [], [], LOOK_S)[0]:
        for _ in range(256):  # a quarter of a MiB of pages, each its turn
            held[at] = (held[at] + 1) % 256
            at = (at + 4096) % HELD
        left, now = meter.left(), time.monotonic()
        worst, before = max(worst, now - before), now
        if left is not None and not gone:
            lowest = min(lowest, left)
            below = below or (now if left < least else 0.0)
        if not gone and _ended(engine):
            gone = now
    reaction = gone - below if below and gone else None
    print(json.dumps({"pause": worst, "lowest": lowest, "reaction": reaction, "gone": bool(gone)}))


def _ended(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] in "ZX"
    return True


if __name__ == "__main__":
    os.nice(0)
    main(*map(int, sys.argv[1:4]))
