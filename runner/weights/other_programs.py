"""Where other programs keep model files on this disk, as a table; and a bounded walk through them.

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

MOST_DEEP: Final = 8  # folders below the first; the hub's cache needs five
MOST_ENTRIES: Final = 200_000  # names in all; a home folder of that size takes seconds to walk
_SETTINGS_LIMIT: Final = 1 << 20  # bytes of another program's settings that are read
# What the hub's cache has beside models: data sets can be millions of files.
_SKIPPED_NAMES: Final = ("datasets--", "spaces--", ".locks", ".no_exist", ".git")


@dataclass(frozen=True, slots=True)
class Moved:
    """A settings file that may name another folder.

    `key`: in a file of JSON; empty where the file's first line is the name. `inside`: the folder
    in it that holds the models.
    """

    file: str
    key: str = ""
    inside: str = ""


@dataclass(frozen=True, slots=True)
class ProgramLayout:
    """A program that keeps model files. `folders`: where, on any system, `$NAME` being a variable.

    A folder whose variable is not set, or which does not exist, is not searched.
    """

    program: str
    folders: tuple[str, ...]
    moved: tuple[Moved, ...] = ()


# Sources: huggingface_hub, constants.py (and pull request 4498: blobs that repositories share).
# LM Studio: its documentation's page "Import Models"; lmstudio-bug-tracker, issue 553 (the pointer
# to its home); unsloth, pull request 4591 (the key of its settings, and the folder before 0.3).
# llama.cpp: pull request 7826 (its own cache, flat, with `_` for `/`) and common/hf-cache.cpp (the
# hub's layout since March 2026, under LLAMA_CACHE if that is set).
# ModelScope: modelscope, pull request 1201 (`hub/models/OWNER/NAME`, `hub/OWNER/NAME` before, `___`
# for `.`); since 1.39 the hub's layout. Ollama: envconfig/config.go; the last is its Linux service.
# Jan: its documentation's page "Jan Data Folder"; src-tauri/src/core/app/commands.rs.
LAYOUTS: Final = (
    ProgramLayout(
        "the hub's cache",
        (
            "$HF_HUB_CACHE",
            "$HUGGINGFACE_HUB_CACHE",
            "$HF_HOME/hub",
            "$XDG_CACHE_HOME/huggingface/hub",
            "~/.cache/huggingface/hub",
        ),
    ),
    ProgramLayout(
        "LM Studio",
        ("~/.lmstudio/models", "~/.cache/lm-studio/models"),
        (
            Moved("~/.lmstudio/settings.json", "downloadsFolder"),
            Moved("~/.cache/lm-studio/settings.json", "downloadsFolder"),
            Moved("~/.lmstudio-home-pointer", inside="models"),
        ),
    ),
    ProgramLayout(
        "llama.cpp",
        (
            "$LLAMA_CACHE",
            "$XDG_CACHE_HOME/llama.cpp",
            "~/.cache/llama.cpp",
            "~/Library/Caches/llama.cpp",
            "$LOCALAPPDATA/llama.cpp",
        ),
    ),
    ProgramLayout("ModelScope", ("$MODELSCOPE_CACHE", "~/.cache/modelscope")),
    ProgramLayout(
        "Ollama",
        (
            "$OLLAMA_MODELS/blobs",
            "~/.ollama/models/blobs",
            "/usr/share/ollama/.ollama/models/blobs",
        ),
    ),
    ProgramLayout(
        "Jan",
        (
            "$JAN_DATA_FOLDER/llamacpp/models",
            "$XDG_DATA_HOME/Jan/data/llamacpp/models",
            "~/.local/share/Jan/data/llamacpp/models",
            "~/Library/Application Support/Jan/data/llamacpp/models",
            "$APPDATA/Jan/data/llamacpp/models",
        ),
        tuple(
            Moved(f"{base}/Jan/settings.json", "data_folder", "llamacpp/models")
            for base in (
                "$XDG_DATA_HOME",
                "~/.local/share",
                "~/Library/Application Support",
                "$APPDATA",
            )
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to search. `program`: whose it is; empty where the user named it."""

    program: str
    path: Path


def folders() -> list[Folder]:
    """Return the existing folders of other programs, each once."""
    found: dict[Path, Folder] = {}
    for layout in LAYOUTS:
        named = [_expanded(text) for text in layout.folders]
        named += [_moved_to(moved) for moved in layout.moved]
        for path in named:
            if path is not None and path.is_dir():
                found.setdefault(path.resolve(), Folder(layout.program, path))
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
