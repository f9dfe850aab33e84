"""Takes memory: `python balloon.py BYTES RATE`, and holds it until its input ends.

RATE in bytes a second, 0 for as fast as it goes. Prints `full` when it has all of it. Standard
library alone, and no file is opened on the way: there may be no memory for that.
"""

import mmap
import sys
import time

PIECE = 16 << 20
_POPULATE_WRITE = 23  # <linux/mman.h>, Linux 5.14: pages are made without a fault for each


def main(size: int, rate: float) -> None:
    """Take and hold."""
    balloon = mmap.mmap(-1, size)
    began = time.monotonic()
    for at in range(0, size - PIECE + 1, PIECE):
        balloon.madvise(_POPULATE_WRITE, at, PIECE)
        if rate and (ahead := (at + PIECE) / rate - (time.monotonic() - began)) > 0:
            time.sleep(ahead)
    seconds = time.monotonic() - began
    print(f"full {size / seconds / (1 << 30):.2f}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
