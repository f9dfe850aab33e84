"""Which files this process has opened for an engine, and which it found whole. Thread-safe."""

import threading
import time
from typing import Final

from runner.kv.files import FileState

PIN_S: Final = 120.0  # a file that was opened is not evicted for so long: an engine reads it
# Files that are known to be whole, those checked last: each takes 0.3 KiB of memory, and one that
# is forgotten is only read once more before it is used again.
CHECKED: Final = 512


class Opened:
    """The files of one store, by ID."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._whole: dict[str, FileState] = {}
        self._lock = threading.Lock()

    def pin(self, file_id: str) -> None:
        """Note that an engine is about to read a file."""
        with self._lock:
            self._until[file_id] = time.monotonic() + PIN_S

    def unpin(self, file_id: str) -> None:
        """Note that it has read it."""
        with self._lock:
            self._until.pop(file_id, None)

    def pinned(self) -> frozenset[str]:
        """Return the files that an engine may be reading."""
        now = time.monotonic()
        with self._lock:
            self._until = {each: until for each, until in self._until.items() if until > now}
            return frozenset(self._until)

    def found_whole(self, file_id: str, state: FileState) -> None:
        """Note that a file is what was saved."""
        with self._lock:
            self._whole.pop(file_id, None)
            self._whole[file_id] = state
            while len(self._whole) > CHECKED:
                del self._whole[next(iter(self._whole))]

    def is_whole(self, file_id: str, state: FileState) -> bool:
        """Return whether a file was found whole, and has not changed since."""
        with self._lock:
            return self._whole.get(file_id) == state

    def forget(self, file_id: str) -> None:
        """Know nothing of a file: it is gone."""
        with self._lock:
            self._until.pop(file_id, None)
            self._whole.pop(file_id, None)
