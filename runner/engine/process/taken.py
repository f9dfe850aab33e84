"""What an engine takes of main memory, as the system sees it, and the most that it ever was."""

import os
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from runner.machine.probes.host import hidden_bytes
from runner.machine.probes.read import pairs

_READ: Final = 1 << 14


STEADY: Final = 8
"""How many looks in a row a driver must hold memory: what the kernel names lags behind."""


class MemoryTaken:
    """Measures one engine; make it before the engine starts. Linux alone: elsewhere all is 0.

    `own`: what its process holds for itself, and of mapped files at most `mapped` bytes. `all`:
    also what has disappeared since from all that the kernel names: memory that a graphics driver
    has taken, for this engine or for another program. Both are the most seen so far, in bytes.
    """

    def __init__(self, mapped: int = 0, root: Path = Path("/")) -> None:
        self._mapped, self._root = mapped, root
        self._before = self._hidden()
        self._drivers: deque[int] = deque(maxlen=STEADY)
        self.own = self.all = 0

    def look(self, pid: int) -> None:
        """Look at an engine's process; takes 0.1 ms."""
        status = pairs(self._text(f"proc/{pid}/status"))
        kinds = ("RssAnon", "RssShmem", "RssFile")
        anon, shared, files = (_kib(status.get(kind, "")) for kind in kinds)
        if not anon:
            return  # it has ended, or begins
        own = anon + shared + min(files, self._mapped)
        hidden = self._hidden()
        if hidden is not None and self._before is not None:
            self._drivers.append(max(0, hidden - self._before))
        steady = min(self._drivers) if len(self._drivers) == STEADY else 0
        self.own, self.all = max(self.own, own), max(self.all, own + steady)

    def _hidden(self) -> int | None:
        return hidden_bytes(self._text("proc/meminfo"))

    def _text(self, name: str) -> str:
        if not sys.platform.startswith("linux"):
            return ""
        with suppress(OSError):
            file = os.open(self._root / name, os.O_RDONLY)
            try:
                return os.read(file, _READ).decode("ascii", "replace")
            finally:
                os.close(file)
        return ""


def _kib(text: str) -> int:
    word = text.split(" ", maxsplit=1)[0]
    return int(word) << 10 if word.isdecimal() else 0
