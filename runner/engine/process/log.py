"""Reads the log of a guarded program: what is new in it, and its end.

The guard bounds a log: one that is full moves to `FILE.1`, and the file starts over. The file is
opened for each read, so that it can be moved at any time, on Windows too.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

PIECE_BYTES: Final = 1 << 20  # read at a time
LINE_BYTES: Final = 4096  # a longer line is cut: what is looked for stands at its beginning


class LogReader:
    """Follows one log from its beginning, also through the moves to `FILE.1`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        self._half = b""

    def lines(self) -> list[str]:
        """Return the whole lines added since the last call, at most about 1 MiB of them.

        A carriage return ends no line. Empty where nothing is new, or the log is missing.
        """
        data = b""
        with suppress(OSError), self.path.open("rb") as log:
            if log.seek(0, os.SEEK_END) < self._at:  # it has started over
                data = self._rest()
                self._at = -len(data)
                if not data:
                    log.seek(0)
                    data = log.read(PIECE_BYTES)
            else:
                log.seek(self._at)
                data = log.read(PIECE_BYTES)
        self._at += len(data)
        *whole, half = (self._half + data).split(b"\n")
        self._half = half[:LINE_BYTES]
        return [line[:LINE_BYTES].decode("utf-8", "replace") for line in whole]

    def _rest(self) -> bytes:
        """Return what was added to the log before it moved, after what has been read.

        Nothing where it has not moved: then half a line of it is lost, too.
        """
        with suppress(OSError), self._older.open("rb") as log:
            log.seek(self._at)
            return log.read(PIECE_BYTES)
        self._half = b""
        return b""

    @property
    def _older(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")

    def tail(self, count: int) -> str:
        """Return the last `count` bytes as text, the older part of the log included."""
        text = b""
        for path in (self.path, self._older):
            with suppress(OSError), path.open("rb") as log:
                wanted = count - len(text)
                log.seek(max(0, log.seek(0, os.SEEK_END) - wanted))
                text = log.read(wanted) + text
        return text.decode("utf-8", "replace")
