"""What a path that is being typed may become: the names that fit it, the likeliest first.

A path with a folder in it lists that folder; a word alone is looked for in the whole working
folder. Blocks: call it in a thread, one at a time.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from runner.chat.files.candidates import Candidate, Candidates
from runner.chat.files.mentions import may_be_mentioned
from runner.chat.files.walking import Walk, WalkedFile

MOST: Final = 50
KEPT_S: Final = 10.0  # a walk serves the next keys, too
PREFIX_OF_NAME, IN_NAME, IN_PATH = range(3)


class Completer:
    """Completes paths that are relative to a working folder, to the home, or absolute."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._walks: dict[bool, tuple[float, tuple[WalkedFile, ...], bool]] = {}

    def complete(self, typed: str) -> Candidates:
        """Return what fits; nothing where what is typed is the whole name of a file."""
        typed = typed.replace("\\", "/") if os.name == "nt" else typed
        found = self._in_folder(typed) if "/" in typed else self._anywhere(typed)
        if any(row.path == typed and not row.folder for row in found.rows):
            return Candidates(typed)
        return found

    def _in_folder(self, typed: str) -> Candidates:
        base, _, begin = typed.rpartition("/")
        folder = self.folder / os.path.expanduser(f"{base}/")  # noqa: PTH111 - Path raises for `~nobody`
        walk = Walk(folder, hidden=begin.startswith("."))
        names = []
        for each in walk:
            if "/" in each.path:
                break
            names.append(each)
        rows = [Candidate(f"{base}/{each.path}") for each in _ranked(names, begin)]
        if not begin and _is_folder(folder):
            rows.insert(0, Candidate(typed, "the whole folder"))
        return Candidates(typed, tuple(rows[:MOST]), walk.cut)

    def _anywhere(self, typed: str) -> Candidates:
        hidden = typed.startswith(".")
        at, found, cut = self._walks.get(hidden, (0.0, (), False))
        if not at or time.monotonic() - at > KEPT_S:
            walk = Walk(self.folder, hidden=hidden)
            found = tuple(walk)
            cut = walk.cut
            self._walks[hidden] = (time.monotonic(), found, cut)
        rows = [Candidate(each.path) for each in _ranked(found, typed)]
        return Candidates(typed, tuple(rows), cut)


def _ranked(found: Iterable[WalkedFile], typed: str) -> list[WalkedFile]:
    """Return what contains the words, in the order of how likely it is meant. Pure."""
    wanted = typed.casefold()
    ranked: list[tuple[int, int, str, WalkedFile]] = []
    for each in found:
        path = each.path.casefold()
        name = path.rpartition("/")[2]
        at = path.find(wanted)
        if at < 0 or not may_be_mentioned(each.path):
            continue
        rank = IN_PATH
        if name.startswith(wanted):
            rank = PREFIX_OF_NAME
        elif wanted in name:
            rank = IN_NAME
        ranked.append((rank, path.count("/"), path, each))
    ranked.sort(key=lambda row: row[:3])
    return [
        WalkedFile(f"{each.path}/", folder=True) if each.folder else each
        for *_, each in ranked[:MOST]
    ]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
