"""The folder of all saved caches, whichever engine they are for: started, listed, cleared.

`FOLDER/index.sqlite`, and `FOLDER/KEY/ID.kv` for what depends on the same things. Nothing here
raises what the disk does: the store is then off, and says so in a sentence.
"""

import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, TypeVar

from runner.base import disk, paths
from runner.base.errors import Refused
from runner.base.files import make_private_dir
from runner.kv import files
from runner.kv.index import Damaged, KvIndex, is_damage
from runner.kv.policy import DAY_S
from runner.kv.saved import Saved, Totals

RETRY_S: Final = 60.0  # a store that is off is tried again: a disk may have been connected again
_FULL: Final = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
# By SQLite's result codes BUSY and FULL (sqlite.org/rescode.html): what may be over the next time.
_PASSING: Final = {
    5: "Another process holds the index of saved prompts.",
    13: "The disk that holds the saved prompts is full.",
}

T = TypeVar("T")


def shelf_dir() -> Path:
    """Return the folder of the saved caches, which may not exist yet."""
    return paths.cache_dir() / "kv"


class Shelf:
    """All saved caches below a folder. Safe to use from any thread, and by several processes.

    `off`: why nothing is saved or found at present, in sentences; empty while it works. `fault`:
    the last thing that went wrong, also where it is nothing lasting, such as a full disk.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.off = ""
        self.fault = ""
        self._now = now
        self._index = KvIndex(folder / "index.sqlite")
        self._lock = threading.RLock()
        self._device = 0
        self._again_at = 0.0
        self._attempt(lambda: None, None)

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    # ------------------------------------------------------------------ for people

    def listed(self) -> tuple[Saved, ...]:
        """Return all files, the most valuable first."""
        return self._attempt(self._index.listed, ())

    def totals(self) -> Totals:
        """Return what they come to."""

        def work() -> Totals:
            listed = self._index.listed()
            written = self._index.written(self._day())
            saved_s = sum(each.saved_s for each in listed)
            held = sum(each.bytes for each in listed)
            return Totals(len(listed), held, saved_s, written, self._index.bounds())

        return self._attempt(work, Totals(0, 0, 0.0, 0, None))

    def clear(
        self,
        ids: Collection[str] | None = None,
        *,
        owner: str | None = None,
        unused_s: float | None = None,
    ) -> tuple[Saved, ...]:
        """Remove the files that all conditions select, and return them. Without any: all files.

        `owner`: of this chat. `unused_s`: not used for so many seconds. What is being written for
        the chat is not kept, either.
        """
        before = self._now() - (unused_s or 0.0)

        def work() -> tuple[Saved, ...]:
            with self._index.change() as db:
                gone = tuple(
                    each
                    for each in self._index.listed()
                    if (ids is None or each.id in ids)
                    and (owner is None or each.owner == owner)
                    and (unused_s is None or each.used <= before)
                )
                self._index.forget(each.id for each in gone)
                if owner is not None:
                    db.execute("DELETE FROM pending WHERE owner = ?", (owner,))
            self._remove(gone)
            return gone

        return self._attempt(work, ())

    def owners(self) -> frozenset[str]:
        """Return the chats that files are of."""
        return frozenset(each.owner for each in self.listed() if each.owner)

    # ------------------------------------------------------------------ at a start

    def _start(self, *, damaged: bool = False) -> None:
        """Open the index, and make it and the files agree again, whatever happened before."""
        device = disk.existing(self.folder).stat().st_dev
        if self._device and device != self._device:
            raise Refused(
                f"The disk that holds {self.folder} is gone.",
                why="Its folder is on another disk now.",
                next="Connect it again.",
            )
        make_private_dir(self.folder)
        self.folder.chmod(0o700)
        self._device = device
        self._index.open(damaged=damaged)
        self._sweep()

    def _sweep(self) -> None:
        """Remove files without a row, and what dead processes were writing.

        A row always comes first and goes last, so that a file without one is of nobody.
        """
        found = list(files.found_files(self.folder))
        with self._index.change() as db:
            for file_id, pid, started in db.execute("SELECT id, pid, started FROM pending"):
                if not _lives(pid, started):
                    db.execute("DELETE FROM pending WHERE id = ?", (file_id,))
            # Of one that is being written, both names are right: it is being renamed.
            writing = set(db.execute("SELECT depends, id FROM pending").fetchall())
            whole = set(db.execute("SELECT depends, id FROM saved").fetchall())
        for key, file_id, path in found:
            is_whole = (key, file_id) in whole and path.name == files.saved_name(file_id)
            if not is_whole and (key, file_id) not in writing:
                files.remove(path)

    def _remove(self, gone: Collection[Saved]) -> None:
        for each in gone:
            files.remove(self.folder / each.depends / files.saved_name(each.id))

    # ------------------------------------------------------------------ faults

    def _attempt(self, work: Callable[[], T], otherwise: T) -> T:
        """Do something with the index; `otherwise` where the disk or the index fails it.

        An index that is damaged or gone is begun again once. `off` has the reason, and the store
        tries again after a while.
        """
        if self.off and time.monotonic() < self._again_at:
            return otherwise
        try:
            with disk.explained(self.folder):
                try:
                    self._be_open()
                    return work()
                except (Damaged, sqlite3.Error) as error:
                    if not is_damage(error):
                        raise
                    with self._lock:
                        self._start(damaged=True)
                        self.off = ""
                    return work()
        except Refused as error:
            cause = error.__cause__
            full = isinstance(cause, OSError) and cause.errno in _FULL
            self._fail(f"{error.what} {error.why}".strip(), lasts=not full)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            why = f"The index of saved prompts in {self.folder} cannot be used: {error}."
            self._fail(_PASSING.get(code, why), lasts=code not in _PASSING)
        except (Damaged, OSError) as error:
            reason = getattr(error, "strerror", "") or error
            self._fail(f"Saved prompts in {self.folder} cannot be used: {reason}.")
        return otherwise

    def _be_open(self) -> None:
        if self._index.is_stale() or self.off:
            with self._lock:
                if self._index.is_stale() or self.off:
                    self._start()
                    self.off = ""

    def _fail(self, why: str, *, lasts: bool = True) -> None:
        self.fault = why
        if not lasts:
            return
        with self._lock:
            self.off = why
            self._again_at = time.monotonic() + RETRY_S
            self._index.close()

    def _day(self) -> int:
        return int(self._now() // DAY_S)

    def _key_folder(self, key: str) -> Path:
        """Make the folder of a key, and return it. A link in its place is removed."""
        folder = self.folder / key
        if not files.is_real_folder(folder):
            files.remove(folder)
            make_private_dir(folder)
        folder.chmod(0o700)
        return folder


def _lives(pid: int, started: float) -> bool:
    """Return whether a process still runs: that one, not another with its number."""
    import psutil  # noqa: PLC0415 - 10 ms, for what was left behind only

    try:
        # The system counts from its start, by a clock that is set: a second of difference is none.
        return pid > 0 and abs(psutil.Process(pid).create_time() - started) < 2.0
    except (psutil.Error, TypeError, ValueError, OverflowError):
        return False
