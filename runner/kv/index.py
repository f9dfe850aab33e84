"""The index of saved caches: an SQLite file, shared by processes, that is never trusted.

One that is damaged, or of another version, is moved aside and begun again empty: what it knew can
be read again by the engine. Files without a row are removed at a start.
"""

import contextlib
import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from runner.kv import chains
from runner.kv.files import ID, KEY
from runner.kv.policy import Bounds, Candidate
from runner.kv.saved import Saved

VERSION: Final = 2
BUSY_MS: Final = 5000  # another process holds it for milliseconds; this is for a disk that stalls
# SQLite's result codes that say what is wrong with the file itself, not with the disk:
# ERROR (a table or a column is missing), CORRUPT, SCHEMA, CONSTRAINT (rows contradict each other),
# MISMATCH, FORMAT, NOTADB (sqlite.org/rescode.html).
_DAMAGED: Final = {1, 11, 17, 19, 20, 24, 26}
LOOK_AT: Final = 32  # files that share as much, such as a system prompt
# That SQLite keeps in memory, by itself 2,000: 1,000 files have 290 (measured), a lookup takes 40.
PAGES_KIB: Final = 256

_TABLES: Final = (
    """CREATE TABLE saved(
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, depends TEXT NOT NULL,
    tokens INTEGER NOT NULL, characters INTEGER NOT NULL, bytes INTEGER NOT NULL,
    made REAL NOT NULL, used REAL NOT NULL, read_s REAL NOT NULL, restores INTEGER NOT NULL,
    saved_s REAL NOT NULL, title TEXT NOT NULL, blocks INTEGER NOT NULL, owner TEXT NOT NULL,
    ahead INTEGER NOT NULL,
    sha256 BLOB NOT NULL, last INTEGER NOT NULL, shared INTEGER NOT NULL, worth REAL NOT NULL,
    failures INTEGER NOT NULL)""",
    "CREATE TABLE chains(number INTEGER PRIMARY KEY, hashes BLOB NOT NULL)",
    "CREATE TABLE blocks(hash INTEGER, number INTEGER, PRIMARY KEY(hash, number)) WITHOUT ROWID",
    """CREATE TABLE pending(
    id TEXT PRIMARY KEY, depends TEXT NOT NULL, bytes INTEGER NOT NULL, pid INTEGER NOT NULL,
    started REAL NOT NULL, day INTEGER NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE written(day INTEGER PRIMARY KEY, bytes INTEGER NOT NULL)",
    "CREATE TABLE clock(one INTEGER PRIMARY KEY CHECK(one = 1), worth REAL NOT NULL)",
    """CREATE TABLE bounds(one INTEGER PRIMARY KEY CHECK(one = 1), budget_bytes INTEGER NOT NULL,
    keep_free_bytes INTEGER NOT NULL, bytes_a_day INTEGER NOT NULL)""",
)
_MAKE: Final = (
    *("BEGIN IMMEDIATE", *_TABLES, "INSERT INTO clock VALUES(1, 0.0)"),
    *(f"PRAGMA user_version = {VERSION}", "COMMIT", ""),
)
_COLUMNS: Final = (
    "id, tokens, characters, bytes, made, used, read_s, restores, saved_s, title, blocks, depends, "
    "owner, ahead"
)
_TYPES: Final = (str, int, int, int, float, float, float, int, float, str, int, str, str, int)


class Damaged(Exception):  # noqa: N818 - not a fault of the program
    """The index holds what steprun never writes."""


class KvIndex:
    """The index in a folder. All methods are safe to call from any thread, and any process.

    They raise `sqlite3.Error` and `OSError` where the disk fails, and one of which `is_damage` is
    true where the index itself is wrong: then `open` with `damaged` begins it again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def open(self, *, damaged: bool = False) -> None:
        """Open it. What is damaged, or of another version, is moved aside first.

        `damaged`: the one that is open is, unless another process has replaced it by now.
        """
        lock = self._path.with_suffix(".lock")
        _be_file(lock)
        with self._lock, FileLock(lock, timeout=BUSY_MS / 1000, mode=0o600):
            damaged = damaged and not self.is_stale()
            self.close()
            if damaged:
                self._move_aside()
            try:
                self._connect()
            except (Damaged, sqlite3.DatabaseError) as error:
                self.close()
                if not is_damage(error):
                    raise
                self._move_aside()
                self._connect()

    def close(self) -> None:
        """Close it; safe to call twice."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def is_stale(self) -> bool:
        """Return whether the file was removed or replaced since it was opened."""
        try:
            return self._db is None or self._path.lstat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def _connect(self) -> None:
        for path in self._files():
            _be_file(path)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        os.close(handle)  # SQLite makes its other files with the mode of the first
        self._path.chmod(0o600)
        db = sqlite3.connect(
            self._path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        self._db = db
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA cache_size = -{PAGES_KIB}")
        # Enough for WAL: a power cut loses the last changes at most, and their files with them.
        db.execute("PRAGMA synchronous = NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        tables = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master") if sql}
        if version == 0 and not tables:
            db.executescript(";\n".join(_MAKE))
        elif (version, tables) != (VERSION, set(_TABLES)):
            raise Damaged("It is of another version of steprun.")
        self._inode = self._path.lstat().st_ino

    def _files(self) -> tuple[Path, ...]:
        return tuple(self._path.with_name(self._path.name + end) for end in ("", "-wal", "-shm"))

    def _move_aside(self) -> None:
        """Keep the latest one that was damaged; without its log it is of no use to SQLite."""
        main, *others = self._files()
        aside = main.with_suffix(".damaged")
        _be_file(aside)
        for path in others:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with contextlib.suppress(FileNotFoundError):
            main.replace(aside)

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Change several things at once, with no other process in between, or none of them."""
        with self._lock:
            db = self._open_db()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("The index is closed.")
        return self._db

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._open_db().execute(query, values).fetchall()

    # ------------------------------------------------------------------ finding

    def longest(self, hashes: Sequence[int], most: int, depends: str) -> list[tuple[Saved, int]]:
        """Return up to `most` files that begin as `hashes` do, and for how many blocks.

        The longest match first; of equal ones the smallest file, for it has the least after it.
        Where many begin so, the newest are looked at.
        """
        found: list[tuple[Saved, int]] = []
        numbers: list[int] = []
        depths = chains.depths(len(hashes))
        with self._lock:
            while len(found) < most and (count := self._shared(hashes, depths, numbers)):
                depth, depths = depths[count - 1], depths[: count - 1]
                for number, saved, further in self._at(hashes, depth, numbers, depends):
                    numbers.append(number)
                    found.append((saved, depth + further))
        found.sort(key=lambda match: (-match[1], match[0].bytes, -match[0].used))
        return found[:most]

    def _shared(self, hashes: Sequence[int], depths: Sequence[int], without: Sequence[int]) -> int:
        """Return at how many of the depths a file is still the same, by halving."""
        low, high = 0, len(depths)
        query = f"SELECT 1 FROM blocks WHERE hash = ? {_not_in(without)} LIMIT 1"  # noqa: S608
        execute = self._open_db().execute
        while low < high:
            middle = (low + high + 1) // 2
            if execute(query, (hashes[depths[middle - 1] - 1], *without)).fetchone():
                low = middle
            else:
                high = middle - 1
        return low

    def _at(
        self, hashes: Sequence[int], depth: int, without: Sequence[int], depends: str
    ) -> Iterator[tuple[int, Saved, int]]:
        """Yield files that are the same to a depth: number, row, and how many blocks further."""
        rows = self._all(
            f"SELECT number, substr(hashes, ?, ?), {_COLUMNS} FROM blocks JOIN chains USING(number) "  # noqa: S608, E501
            f"JOIN saved USING(number) WHERE hash = ? {_not_in(without)} AND depends = ? "
            "ORDER BY blocks.number DESC LIMIT ?",
            (8 * depth + 1, 8 * chains.GAP, hashes[depth - 1], *without, depends, LOOK_AT),
        )
        after = chains.packed(hashes[depth : depth + chains.GAP])
        for number, theirs, *row in rows:
            _must_be((theirs,), (bytes,))
            yield number, _saved(row), chains.same(after, theirs)

    def one(self, file_id: str) -> tuple[Saved, bytes] | None:
        """Return a file's row and its SHA-256."""
        rows = self._all(
            f"SELECT {_COLUMNS}, sha256 FROM saved WHERE id = ?",  # noqa: S608
            (file_id,),
        )
        if not rows:
            return None
        *row, sha256 = rows[0]
        _must_be((sha256,), (bytes,))
        return _saved(row), sha256

    def listed(self, where: str = "1", values: Sequence[Any] = ()) -> tuple[Saved, ...]:
        """Return the files that a condition selects, the most valuable first."""
        query = f"SELECT {_COLUMNS} FROM saved WHERE {where} ORDER BY worth DESC, id"  # noqa: S608
        return tuple(_saved(row) for row in self._all(query, values))

    def kept(self) -> list[Candidate]:
        """Return what each file is worth."""
        rows = self._all("SELECT id, bytes, worth FROM saved")
        for row in rows:
            _must_be(row, (str, int, float))
        return [Candidate(*row) for row in rows]

    def held(self) -> tuple[int, int]:
        """Return the bytes of all files, and those that are about to be written."""
        ((saved, pending),) = self._all(
            "SELECT (SELECT total(bytes) FROM saved), (SELECT total(bytes) FROM pending)"
        )
        return int(saved), int(pending)

    def pending(self, file_id: str) -> tuple[int, int] | None:
        """Return the bytes that are reserved for a file that is being written, and on which day."""
        for row in self._all("SELECT bytes, day FROM pending WHERE id = ?", (file_id,)):
            _must_be(row, (int, int))
            return row[0], row[1]
        return None

    def bounds(self) -> Bounds | None:
        """Return the bounds of the store that was opened last; None before the first."""
        for row in self._all("SELECT budget_bytes, keep_free_bytes, bytes_a_day FROM bounds"):
            _must_be(row, (int, int, int))
            return Bounds(*row)
        return None

    # ------------------------------------------------------------------ changing

    def set_bounds(self, bounds: Bounds) -> None:
        """Keep the bounds for whoever lists the files."""
        with self._lock:
            query = "INSERT OR REPLACE INTO bounds VALUES(1, ?, ?, ?)"
            self._open_db().execute(query, astuple(bounds))

    def insert(
        self, saved: Saved, sha256: bytes, hashes: Sequence[int], *, shared: bool, worth: float
    ) -> int:
        """Add a file; return its number."""
        row = (*_row(saved), sha256, hashes[-1], shared, worth, 0)
        with self._lock:
            db = self._open_db()
            number = db.execute(
                f"INSERT INTO saved({_COLUMNS}, sha256, last, shared, worth, failures) "
                f"VALUES({', '.join('?' * len(row))})",
                row,
            ).lastrowid
            db.execute("INSERT INTO chains VALUES(?, ?)", (number, chains.packed(hashes)))
            # In order of the hashes: pages of the table are then written once.
            pairs = ((each, number) for each in sorted({*chains.sparse(hashes)}))
            db.executemany("INSERT OR IGNORE INTO blocks VALUES(?, ?)", pairs)
        return int(number or 0)

    def covered(self, number: int, hashes: Sequence[int], depends: str) -> tuple[Saved, ...]:
        """Return the files that the one of `number` makes superfluous.

        They end where it is still the same, and no other file begins with them.
        """
        mine = set(hashes)
        query = f"SELECT number, last, shared, {_COLUMNS} FROM saved WHERE depends = ?"  # noqa: S608
        with self._lock:  # one row after the other: there may be thousands
            rows = self._open_db().execute(query, (depends,))
            before = [(row[0], row[2], _saved(row[3:])) for row in rows if row[1] in mine]
        before = [each for each in before if each[0] != number]
        line = {number, *(each[0] for each in before)}
        return tuple(
            saved
            for _, shared, saved in before
            if not shared and line.issuperset(self._beginning_with(hashes[: saved.blocks]))
        )

    def _beginning_with(self, hashes: Sequence[int]) -> Iterator[int]:
        """Yield the numbers of the files that begin so."""
        depths = chains.depths(len(hashes))
        if depths:
            query = (
                "SELECT number FROM blocks JOIN chains USING(number) WHERE hash = ? "
                "AND substr(hashes, ?, 8) = ?"
            )
            at, last = hashes[depths[-1] - 1], chains.packed(hashes[-1:])
            yield from (row[0] for row in self._all(query, (at, 8 * len(hashes) - 7, last)))

    def forget(self, ids: Iterable[str]) -> None:
        """Remove the rows of files."""
        with self._lock:
            db = self._open_db()
            for each in ids:
                query = "SELECT number, hashes FROM saved LEFT JOIN chains USING(number) WHERE id=?"
                for number, packed in db.execute(query, (each,)).fetchall():
                    _must_be((packed,), (bytes,))
                    hashes = chains.unpacked(packed)
                    pairs = ((each, number) for each in sorted({*chains.sparse(hashes)}))
                    db.executemany("DELETE FROM blocks WHERE hash = ? AND number = ?", pairs)
                    db.execute("DELETE FROM chains WHERE number = ?", (number,))
                    db.execute("DELETE FROM saved WHERE number = ?", (number,))

    def clock(self) -> float:
        """Return what the last file was worth that had to go."""
        rows = self._all("SELECT worth FROM clock")
        _must_be(rows[0] if rows else (None,), (float,))
        return float(rows[0][0])

    def set_clock(self, worth: float) -> None:
        """Move the clock forward, never back."""
        with self._lock:
            self._open_db().execute("UPDATE clock SET worth = max(worth, ?)", (worth,))

    def written(self, day: int, more: int = 0) -> int:
        """Count bytes written on a day, and return how many there are."""
        with self._lock:
            db = self._open_db()
            if more:
                db.execute(
                    "INSERT INTO written VALUES(?, max(0, ?)) ON CONFLICT(day) "
                    "DO UPDATE SET bytes = max(0, bytes + ?)",
                    (day, more, more),
                )
                # Of days that lie ahead, a clock that jumped has left rows.
                db.execute("DELETE FROM written WHERE abs(day - ?) > 7", (day,))
        ((bytes_,),) = self._all("SELECT total(bytes) FROM written WHERE day = ?", (day,))
        return int(bytes_)


def is_damage(error: Exception) -> bool:
    """Return whether an error says that the index itself is wrong, not the disk."""
    if isinstance(error, Damaged):
        return True
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def _saved(row: Sequence[Any]) -> Saved:
    _must_be(row, _TYPES)
    saved = Saved(*row)
    # Both become names of files.
    if not ID.fullmatch(saved.id) or not KEY.fullmatch(saved.depends) or saved.bytes < 1:
        raise Damaged("A row names a file that is none of the store's.")
    return saved


def _must_be(row: Sequence[Any], kinds: Sequence[type]) -> None:
    if not all(map(isinstance, row, kinds)):
        raise Damaged("A row has a value of another type.")


def _be_file(path: Path) -> None:
    """Move away what is not a regular file: it would be waited for, or written to elsewhere."""
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            path.replace(path.with_name(f"{path.name}.not-ours-{secrets.token_hex(4)}"))


def _row(saved: Saved) -> tuple[Any, ...]:
    return tuple(getattr(saved, name.strip()) for name in _COLUMNS.split(","))


def _not_in(numbers: Collection[int]) -> str:
    return f"AND number NOT IN ({', '.join('?' * len(numbers))})" if numbers else ""
