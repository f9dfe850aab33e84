"""Walks folders within bounds of number and time, as Git would see them. Blocks: in a thread.

Nearest first, so that a bound cuts the farthest off; links to folders are not followed, so that
none is walked for ever. In a tree of Git what `.gitignore` names is left out; hidden files only
come when asked for.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

ENTRIES: Final = 20_000
SECONDS: Final = 1.0
IGNORE_BYTES: Final = 256 << 10
_SPARE_S: Final = 0.001  # others have their turn after each folder

# The rules of Git's files, the farthest first, each with the folder that it is of.
Rules: TypeAlias = 'tuple[tuple[str, "GitIgnoreSpec"], ...]'


@dataclass(frozen=True, slots=True)
class WalkedFile:
    """A file or folder; `path` is relative to where the walk began, parts joined by slashes."""

    path: str
    folder: bool = False
    link: bool = False


@dataclass(slots=True)
class Walk:
    """A walk through a folder. `cut`: a bound ended it."""

    root: Path
    hidden: bool = False
    entries: int = ENTRIES
    seconds: float = SECONDS
    cut: bool = False

    def __iter__(self) -> Iterator[WalkedFile]:
        """Yield what is found, folder by folder, each sorted by name."""
        until = time.monotonic() + self.seconds
        top, above = _git_top(self.root)
        folders = deque([("", _rules_above(top, above) if top is not None else ())])
        seen = 0
        while folders:
            folder, rules = folders.popleft()
            if top is not None and (own := _rules(self.root / folder)) is not None:
                rules = (*rules, (f"{above}{folder}/" if folder else above, own))
            for entry in self._listed(folder):
                seen += 1
                if seen > self.entries or time.monotonic() > until:
                    self.cut = True
                    return
                path = f"{folder}/{entry.name}" if folder else entry.name
                is_folder, link = _kind(entry)
                if self._left_out(entry.name, f"{above}{path}", rules, folder=is_folder):
                    continue
                yield WalkedFile(path, is_folder, link)
                if is_folder and not link:
                    folders.append((path, rules))
            time.sleep(_SPARE_S)

    def _listed(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / folder) as found:
                return sorted(
                    (entry for entry, _ in zip(found, range(self.entries + 1), strict=False)),
                    key=lambda entry: entry.name,
                )
        except (OSError, ValueError):
            return []

    def _left_out(self, name: str, path: str, rules: Rules, *, folder: bool) -> bool:
        if name == ".git" or (name.startswith(".") and not self.hidden):
            return True
        for base, spec in reversed(rules):  # the nearest file that says something counts
            if path.startswith(base):
                ruled = spec.check_file(path[len(base) :] + ("/" if folder else "")).include
                if ruled is not None:
                    return ruled
        return False


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    try:
        return entry.is_dir(), entry.is_symlink()
    except OSError:
        return False, True


def _git_top(root: Path) -> tuple[Path | None, str]:
    """Return the top folder of the Git tree that a folder is in, and the path from there to it."""
    try:
        root = root.resolve()
        for top in (root, *root.parents):
            if (top / ".git").exists():
                rest = root.relative_to(top).as_posix()
                return top, "" if rest == "." else f"{rest}/"
    except (OSError, ValueError, RuntimeError):
        pass
    return None, ""


def _rules_above(top: Path, above: str) -> Rules:
    """Return the rules of the folders above the one that is walked, the farthest first."""
    found = []
    if (own := _rules_of(top / ".git" / "info" / "exclude")) is not None:
        found.append(("", own))
    parts = above.split("/")[:-1]
    for depth in range(len(parts)):
        base = "".join(f"{part}/" for part in parts[:depth])
        if (rules := _rules(top / base)) is not None:
            found.append((base, rules))
    return tuple(found)


def _rules(folder: Path) -> "GitIgnoreSpec | None":
    return _rules_of(folder / ".gitignore")


def _rules_of(path: Path) -> "GitIgnoreSpec | None":
    try:
        if not path.is_file() or path.stat().st_size > IGNORE_BYTES:
            return None
        lines = path.read_text("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return None
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - 30 ms, only where there is such a file

    try:
        return GitIgnoreSpec.from_lines(lines)
    except Exception:  # noqa: BLE001 - patterns are not trusted: Git skips those it cannot read, too
        return None
