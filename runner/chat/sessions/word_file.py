"""The SQLite file of the index of all chats: opened, made anew where it is damaged, or refused.

It is a cache, never the source of truth: it may be deleted at any time, and is made anew where it
is damaged, of another version, or of a Python with another Unicode. Everything here blocks.
"""

import contextlib
import functools
import os
import sqlite3
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from runner.base.errors import Refused
from runner.base.files import make_private_dir

Result = TypeVar("Result")

VERSION: Final = 1
WAIT_S: Final = 5.0  # for another window that writes

_TABLES: Final = """
CREATE TABLE chats(number INTEGER PRIMARY KEY, id TEXT UNIQUE, bytes INTEGER, changed INTEGER);
CREATE TABLE texts(id INTEGER PRIMARY KEY, chat INTEGER, entry TEXT, place TEXT, text TEXT);
CREATE INDEX texts_of_chat ON texts(chat);
CREATE INDEX questions ON texts(id) WHERE place = 'question';
"""
_WORDS: Final = (
    "CREATE VIRTUAL TABLE words USING fts5(text, content='', columnsize=0, detail=none, "
    "tokenize='trigram case_sensitive 1')"
)


@functools.cache
def has_trigrams() -> bool:
    """Return whether this Python's SQLite finds texts by trigrams; else they are scanned."""
    with contextlib.closing(sqlite3.connect(":memory:")) as base:
        try:
            base.execute(_WORDS)
        except sqlite3.Error:
            return False
    return True


def _version() -> int:
    """Return what the file is made for: another one is made anew."""
    unicode_version = [int(part) for part in unicodedata.unidata_version.split(".")]
    made = functools.reduce(lambda number, part: 100 * number + part, unicode_version, VERSION)
    return 2 * made + has_trigrams()


class WordFile:
    """A file of the index. Each call opens it and closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `work` does with the file, in one step. Raises `Refused`."""
        for again in (True, False):
            try:
                with contextlib.closing(self._opened()) as base, base:
                    return work(base)
            except (sqlite3.Error, TypeError, ValueError) as error:
                # A file that was tampered with may have any value in any place.
                if again and _damaged(error):
                    self.discard()
                    continue
                raise _refused(self.path, error) from error
            except OSError as error:
                raise _refused(self.path, error) from error
        raise AssertionError  # the second time returns or raises

    def _opened(self) -> sqlite3.Connection:
        make_private_dir(self.path.parent)
        # SQLite's own is for all. One that is there is left closed: whoever closes it again takes
        # the locks of all threads of this process off it (sqlite.org/howtocorrupt.html, 2.2).
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        base = sqlite3.connect(self.path, timeout=WAIT_S)
        try:
            self._check(base)
            base.execute("PRAGMA secure_delete = ON")
            base.execute("PRAGMA trusted_schema = OFF")
            (made,) = base.execute("PRAGMA user_version").fetchone()
            if made != _version():
                _make(base)
        except BaseException:
            base.close()
            raise
        return base

    def _check(self, base: sqlite3.Connection) -> None:
        """Raise where pages are missing: SQLite may take them for empty ones (see its format)."""
        base.execute("BEGIN")
        base.execute("SELECT count(*) FROM sqlite_master").fetchone()  # now nobody writes
        (pages,) = base.execute("PRAGMA page_count").fetchone()
        (size,) = base.execute("PRAGMA page_size").fetchone()
        if self.path.stat().st_size < pages * size:
            raise sqlite3.DatabaseError("cut short")
        base.execute("COMMIT")

    def discard(self) -> None:
        """Delete the file: it is made anew."""
        try:
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self.path, error) from error


def _make(base: sqlite3.Connection) -> None:
    """Make the tables, in place of whatever there is. In one step: two windows may do it."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        (made,) = base.execute("PRAGMA user_version").fetchone()
        if made == _version():
            return
        if base.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise sqlite3.DatabaseError("made by another version")
        for table in filter(str.strip, _TABLES.split(";")):
            base.execute(table)
        if has_trigrams():
            base.execute(_WORDS)
        base.execute(f"PRAGMA user_version = {_version()}")


_TROUBLES: Final = frozenset(
    getattr(sqlite3, name)
    for name in (
        *("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR"),
        *("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_NOMEM", "SQLITE_INTERRUPT"),
    )
)


def _damaged(error: Exception) -> bool:
    """Whether making the file anew helps: not on a full disk, nor while another one writes."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF not in _TROUBLES


def _refused(path: Path, error: Exception) -> Refused:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    why = f"{error}."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        why = "Another window is writing to it."
    return Refused(
        f"The index of all chats ({path}) cannot be used.",
        why=why,
        next="The chats themselves are not affected. Try again, or free some space on that disk.",
    )
