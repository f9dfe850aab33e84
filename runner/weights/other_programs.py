"""Where other programs keep model files on this disk, and a bounded walk through them.

Names are never trusted, so a layout only tells where to look; size, header and hash decide what a
file is. Nothing here opens a model file.
"""

import json
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runner.base.toml import Strict, read_toml

_FILE: Final = Path(__file__).with_suffix(".toml")
MOST_DEEP: Final = 8  # folders below the first; the hub's cache needs five
MOST_ENTRIES: Final = 200_000  # names in all; a home folder of that size takes seconds to walk
_SETTINGS_LIMIT: Final = 1 << 20  # bytes of another program's settings that are read
# What the hub's cache has beside models: data sets can be millions of files.
_SKIPPED_NAMES: Final = ("datasets--", "spaces--", ".locks", ".no_exist", ".git")


class Moved(Strict, frozen=True):
    """A settings file of another program that may name another folder."""

    file: str
    key: str = ""
    inside: str = ""


class Program(Strict, frozen=True):
    """A program that keeps model files; `other_programs.toml` describes each field."""

    name: str
    folders: tuple[str, ...]
    moved: tuple[Moved, ...] = ()


class _Document(Strict, frozen=True):
    program: tuple[Program, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to search. `program`: whose it is; empty where the user named it."""

    program: str
    path: Path


def programs() -> tuple[Program, ...]:
    """Return the known programs; BadFile where their list is damaged."""
    return read_toml(_FILE, _Document, "The list of other programs' folders").program


def folders() -> list[Folder]:
    """Return the existing folders of other programs, each once."""
    found: dict[Path, Folder] = {}
    for program in programs():
        named = [_expanded(text) for text in program.folders]
        named += [_moved_to(moved) for moved in program.moved]
        for path in named:
            # Path.is_dir raises below a folder that this user may not enter (Python < 3.14).
            if path is not None and os.path.isdir(path):  # noqa: PTH112
                found.setdefault(path.resolve(), Folder(program.name, path))
    return list(found.values())


def _expanded(text: str) -> Path | None:
    head, _, rest = text.partition("/")
    if head.startswith("$"):
        value = os.environ.get(head[1:])
        if not value:
            return None
        text = f"{value}/{rest}"
    # Path.expanduser raises where there is no such user; this leaves the text alone.
    path = Path(os.path.expandvars(os.path.expanduser(text)))  # noqa: PTH111
    return path if path.is_absolute() else None


def _moved_to(moved: Moved) -> Path | None:
    file = _expanded(moved.file)
    try:
        if file is None or not file.is_file():
            return None
        with file.open("rb") as stream:
            text = stream.read(_SETTINGS_LIMIT).decode("utf-8-sig")
        named = json.loads(text)[moved.key] if moved.key else text.strip().split("\n")[0].strip()
        return _expanded(f"{named}/{moved.inside}") if isinstance(named, str) and named else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None  # another program's file: it may hold anything


# --- walking


@dataclass(slots=True)
class Walk:
    """A walk through folders, each entered once, whatever links lead to it.

    `entries`: names seen. `skipped`: folders that cannot be read, and broken or circular links.
    `cut`: whether something was left out, because of its depth or the number of names.
    """

    entries: int = 0
    skipped: int = 0
    cut: bool = False
    _entered: set[tuple[int, int]] = field(default_factory=set)

    def files(self, root: Path) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the regular files under `root`, or `root` itself, the nearest first."""
        todo = deque([(root, 0)])
        while todo:
            path, depth = todo.popleft()
            try:
                found = path.stat()
            except (OSError, ValueError):
                self.skipped += 1
                continue
            if stat.S_ISREG(found.st_mode):
                yield path, found
            elif stat.S_ISDIR(found.st_mode):
                todo.extend((inner, depth + 1) for inner in self._list(path, found, depth))

    def _list(self, folder: Path, found: os.stat_result, depth: int) -> list[Path]:
        identity = (found.st_dev, found.st_ino)
        if identity in self._entered:
            return []
        if depth > MOST_DEEP:
            self.cut = True
            return []
        self._entered.add(identity)
        names: list[Path] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if self.entries >= MOST_ENTRIES:
                        self.cut = True
                        break
                    self.entries += 1
                    if not entry.name.startswith(_SKIPPED_NAMES):
                        names.append(folder / entry.name)
        except OSError:
            self.skipped += 1
        return sorted(names)
