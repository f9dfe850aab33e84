"""Small facts that outlive a run, as JSON files: typed, private, changed under a lock."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from runner.base.errors import Refused
from runner.base.files import cannot_write, make_private_dir, write_private

T = TypeVar("T")
# A larger file is damaged: the largest of these, 200 accounts of an engine, has about 100 KB.
MOST_BYTES: Final = 16 << 20


class JsonState(Generic[T]):
    """One JSON file that holds a value of one type.

    A file that is missing, damaged or of another shape counts as `empty()`: what is kept here can
    be found out again. `where` is asked at each use, so that STEPRUN_HOME may change.
    """

    def __init__(self, where: Callable[[], Path], kind: type[T], empty: Callable[[], T]) -> None:
        self._where, self._kind, self._empty = where, kind, empty

    def read(self) -> T:
        """Return the value."""
        # msgspec's own errors are ValueErrors.
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return self._decoded()
        return self._empty()

    def damaged(self) -> bool:
        """Whether there is a file, and it cannot be read."""
        try:
            self._decoded()
        except FileNotFoundError:
            return False
        except (OSError, ValueError, RecursionError):
            return True
        return False

    def _decoded(self) -> T:
        with self._where().open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError("too large")
        return msgspec.json.decode(text, type=self._kind)

    def change(self, change: Callable[[T], T]) -> None:
        """Replace the value by what `change` makes of it, with no other steprun in between.

        Raises `Refused` where the file cannot be written.
        """
        from filelock import FileLock  # noqa: PLC0415 - most runs only read

        path = self._where()
        make_private_dir(path.parent)
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire()
        except OSError as error:
            raise cannot_write(path, error) from error
        with lock:
            write_private(path, msgspec.json.format(msgspec.json.encode(change(self.read()))))

    def try_change(self, change: Callable[[T], T]) -> None:
        """Do the same for what may be lost: a full disk is no reason to fail."""
        with contextlib.suppress(Refused, OSError):
            self.change(change)
