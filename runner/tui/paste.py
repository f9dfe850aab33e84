"""Finds the image paths in pasted or dropped text.

A terminal turns a dropped file into pasted text, each in its own way: quoted, with backslashes
before blanks, as a `file://` address, or bare with the blanks in it; several files at once.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from runner.chat.images.formats import SUFFIXES
from runner.chat.images.names import as_on_disk

PATH_CHARS = 4096  # Linux's own limit: longer text is not a path
PATHS = 16  # one message takes no more pictures

# Returns the path of a file as it is on the disk; None where there is none.
FindFile = Callable[[str], str | None]

_DRIVE = re.compile(r"([A-Za-z]):[\\/]")
# Words of a shell: quoted whole, or bare with a backslash before what is special. Only these three
# blanks part words: the narrow blank in the name of a macOS screenshot does not.
_WORD = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|((?:\\.|[^ \t\r\n\\'\"])+)", re.DOTALL)


def find_pictures(text: str) -> list[str]:
    """Return the picture files of this computer that the whole text names."""
    windows = sys.platform == "win32"
    wsl = "WSL_DISTRO_NAME" in os.environ
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises where there is none
    return picture_paths(text, as_on_disk, windows=windows, wsl=wsl, home=home)


def find_files(text: str) -> list[str]:
    """Return the files and folders of this computer that the whole text names by absolute paths.

    A name alone is just a word: only what a drop looks like counts.
    """
    windows = sys.platform == "win32"
    wsl = "WSL_DISTRO_NAME" in os.environ
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises where there is none
    return named_paths(text, _absolute, windows=windows, wsl=wsl, home=home)


def _absolute(path: str) -> str | None:
    try:
        whole = os.path.isabs(path) and path.isprintable()  # noqa: PTH117 - Path loses a last slash
        return path if whole and len(path) > 1 and os.path.exists(path) else None  # noqa: PTH110
    except (OSError, ValueError):
        return None


def picture_paths(text: str, find_file: FindFile, **system: Any) -> list[str]:
    """Return the picture files that the whole text names, empty where it is just text. Pure.

    `system`: as for `named_paths`.
    """
    return named_paths(
        text, lambda path: find_file(path) if _means_picture(path) else None, **system
    )


def named_paths(
    text: str,
    find_file: FindFile,
    *,
    windows: bool = False,
    wsl: bool = False,
    home: str = "~",
) -> list[str]:
    """Return the files that the whole text names, empty where it is just text. Pure.

    `wsl`: this is Linux under Windows, where `C:/a.png` is `/mnt/c/a.png`.
    """
    text = text.strip()
    if not text or len(text) > PATH_CHARS * PATHS:
        return []
    # The whole text first: a bare path with blanks in it would fall apart as words.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    drives = windows or (wsl and bool(re.search(_DRIVE, text)))
    for parts in ([text] if "\n" not in text else [], lines, _words(text, windows=drives)):
        found = [_existing(part, find_file, windows=windows, wsl=wsl, home=home) for part in parts]
        if found and all(found):
            return [path for path in found if path is not None]
    return []


def _words(text: str, *, windows: bool) -> list[str]:
    if windows:  # there a backslash parts folders
        return [a or b for a, b in re.findall(r'"([^"]*)"|([^ \t\r\n]+)', text)]
    words: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        single, double, bare = match.groups()
        word = single if single is not None else _unescape(double if double is not None else bare)
        # Quoted and bare pieces that touch are one word: it\'s' 'here
        if words and match.start() == end:
            words[-1] += word
        else:
            words.append(word)
        end = match.end()
    return words


def _existing(word: str, find_file: FindFile, *, windows: bool, wsl: bool, home: str) -> str | None:
    for candidate in _readings(word, windows=windows, wsl=wsl, home=home):
        if len(candidate) <= PATH_CHARS:
            found = find_file(candidate)
            if found is not None:
                return found
    return None


def _readings(word: str, *, windows: bool, wsl: bool, home: str) -> list[str]:
    """Return what the word may mean as a path, the most literal reading first."""
    readings = [word]
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        readings.append(word[1:-1])
    if not windows:
        readings += [_unescape(reading) for reading in readings if "\\" in reading]
    for reading in list(readings):
        if reading.startswith("file://"):
            readings.append(_from_url(reading, windows=windows))
        elif reading.startswith(("~/", "~\\") if windows else "~/"):
            readings.append(f"{home}{reading[1:]}")
    if wsl:
        bare = [reading.lstrip("/") for reading in readings]  # of file:///C:/, too
        readings += [
            f"/mnt/{drive[1].lower()}/{reading[3:]}".replace("\\", "/")
            for reading in bare
            if (drive := _DRIVE.match(reading))
        ]
    return readings


def _from_url(url: str, *, windows: bool) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # file://[ is not an address
        return url
    # A blank or a # in a name is not always encoded: whatever follows belongs to the path.
    path = unquote(url[len("file://") + len(parts.netloc) :])
    if windows and re.match(r"/[A-Za-z]:", path):
        path = path[1:]
    if windows and parts.netloc not in {"", "localhost"}:
        path = f"//{parts.netloc}{path}"
    return path


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _means_picture(path: str) -> bool:
    pure = PureWindowsPath(path) if _DRIVE.match(path) else PurePosixPath(path)
    return "\0" not in path and pure.suffix.lower() in SUFFIXES
