"""What was found out about a file, remembered by its size and its time of change.

Start-up asks here, so that it never has to read 105 GB. A file that has changed since has no
verdict; what a disk does to bytes without changing the time is found by `steprun models verify`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.base import files
from runner.base.disk import alone
from runner.base.paths import state_dir


@dataclass(frozen=True, slots=True)
class Verdict:
    """`sha256`: what the file should be. `sound`: whether it is, byte by byte."""

    sha256: str
    sound: bool = True


def recall(path: Path) -> Verdict | None:
    """Return what is known of a file as it is now."""
    return _verdict(_read().get(_key(path)), path)


def recall_all() -> Mapping[str, Any]:
    """Return all that is known, to ask `of` about many files after one reading."""
    return _read()


def of(known: Mapping[str, Any], path: Path) -> Verdict | None:
    """Return what `recall_all` knows of a file as it is now."""
    return _verdict(known.get(_key(path)), path)


def remember(path: Path, verdict: Verdict, read: os.stat_result | None = None) -> None:
    """Remember a verdict on a file as it is now, or as it was when it was `read`."""
    found = read or path.stat()
    entry = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, **asdict(verdict)}
    _change({_key(path): entry})


def forget(path: Path) -> None:
    """Forget a file that is going away."""
    _change({_key(path): None})


def _key(path: Path) -> str:
    return os.path.realpath(path)  # Path.resolve raises for links in a circle (Python < 3.13)


def _verdict(entry: Any, path: Path) -> Verdict | None:
    try:
        found = path.stat()
        if (entry["size"], entry["mtime_ns"]) != (found.st_size, found.st_mtime_ns):
            return None
        return Verdict(str(entry["sha256"]), entry["sound"] is True)
    except (OSError, TypeError, KeyError, ValueError):
        return None


def _change(entries: Mapping[str, dict[str, Any] | None]) -> None:
    path = _path()
    files.make_private_dir(path.parent)
    with alone(path.with_suffix(".lock"), lambda: None):
        known = _read() | dict(entries)
        text = json.dumps({k: v for k, v in known.items() if v is not None}, indent=1)
        files.write_private(path, text)


def _read() -> dict[str, Any]:
    try:
        data = json.loads(_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _path() -> Path:
    return state_dir() / "verdicts.json"
