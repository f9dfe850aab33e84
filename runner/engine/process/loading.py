"""How far an engine has loaded its weights, as its process shows from outside."""

import os
import time
from typing import Final

import psutil

from runner.base.loaded import Loaded, LoadPace

LOOK_S: Final = 1.0  # between two looks: each costs processor time


class LoadMeter:
    """Looks at one engine's process while it loads. `weights_bytes`: all that it is to load."""

    def __init__(self, weights_bytes: int) -> None:
        self._pace = LoadPace(weights_bytes)
        self._looked = float("-inf")

    def look(self, pid: int) -> Loaded | None:
        """Return how far it is, at most `LOOK_S` old; None where that is not known."""
        now = time.monotonic()
        if pid and now - self._looked >= LOOK_S:
            self._looked = now
            self._pace.note(now, taken_in(pid))
        return self._pace.now


def taken_in(pid: int) -> int:
    """Return how many bytes of files a process holds mapped or has read, whichever are more.

    Weights that are mapped are held, and those that go to a card or a buffer are read. 0 where
    that is not known.
    """
    try:
        process = psutil.Process(pid)
        # A Windows environment's Python only starts the real one.
        children = process.children(recursive=True) if os.name == "nt" else ()
        return max(map(_taken_in, (process, *children)))
    except (OSError, psutil.Error):
        return 0


def _taken_in(process: psutil.Process) -> int:
    memory = process.memory_info()
    # On Linux, `shared` leaves out what it computes in, which is no part of the weights.
    held = getattr(memory, "shared", memory.rss)
    read = 0
    if hasattr(process, "io_counters"):  # macOS has none
        counters = process.io_counters()
        # What comes out of the system's cache is read as well, but from no disk.
        read = max(counters.read_bytes, getattr(counters, "read_chars", 0))
    return max(int(held), int(read))
