"""Results of verification, remembered by a file's size and its time of change.

A start looks here, so that it never has to read 105 GB. A file that has changed since has no
verdict; what a disk does to bytes without changing the time is found by `steprun models verify`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from runner.base.paths import state_dir
from runner.base.state import JsonState


class Verdict(msgspec.Struct, frozen=True):
    """`sha256`: what the file should be. `intact`: whether it is, byte by byte."""

    sha256: str
    intact: bool = msgspec.field(default=True, name="sound")


class _Entry(Verdict, frozen=True, kw_only=True):
    """A verdict, and the file that it is on: its bytes, and the nanosecond of its last change."""

    size: int
    mtime_ns: int


Verdicts = Mapping[str, _Entry]
_STATE: Final = JsonState(lambda: state_dir() / "verdicts.json", dict[str, _Entry], dict)


def recall(path: Path) -> Verdict | None:
    """Return what is known about a file as it is now."""
    return of(recall_all(), path)


def recall_all() -> Verdicts:
    """Return all that is known, to ask `of` about many files after one reading."""
    return _STATE.read()


def of(known: Verdicts, path: Path) -> Verdict | None:
    """Return what `recall_all` knows about a file as it is now."""
    entry = known.get(_key(path))
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if entry is None or (entry.size, entry.mtime_ns) != (found.st_size, found.st_mtime_ns):
        return None
    return Verdict(entry.sha256, entry.intact)


def remember(path: Path, verdict: Verdict, read: os.stat_result | None = None) -> None:
    """Remember a verdict on a file as it is now, or as it was when it was `read`."""
    found = read or path.stat()
    entry = _Entry(verdict.sha256, verdict.intact, size=found.st_size, mtime_ns=found.st_mtime_ns)
    _STATE.change(lambda known: known | {_key(path): entry})


def forget(path: Path) -> None:
    """Forget a file that is to be removed."""
    key = _key(path)
    _STATE.change(lambda known: {each: known[each] for each in known if each != key})


def _key(path: Path) -> str:
    return os.path.realpath(path)  # Path.resolve raises for links in a circle (Python < 3.13)
