"""The name that a file has on the disk, where the one that was typed differs only in its spelling.

macOS writes a narrow no-break space (U+202F) before "PM" into the names of screenshots, and keeps
letters with accents in two characters (NFD). Terminals, shells, chats and web pages turn both into
what is usual, so that the name that arrives is of no file.
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MOST_NAMES: Final = 20_000  # of a folder; looking through them takes some milliseconds


def as_on_disk(path: str) -> str | None:
    """Return the path of the file that is meant, None where there is none or more than one."""
    whole = Path(path)
    try:
        if whole.is_file():
            return path
    except (OSError, ValueError):
        return None
    found = [Path(whole.anchor)] if whole.anchor else [Path()]
    parts = whole.parts[1:] if whole.anchor else whole.parts
    for part in parts:
        found = [folder / name for folder in found for name in _spellings(folder, part)]
        if len(found) != 1:
            return None
    return str(found[0]) if found[0].is_file() else None


def same_name(name: str, names: Iterable[str]) -> list[str]:
    """Return the names that differ from one only in blanks and in composed letters."""
    wanted = _plain(name)
    return [each for each in names if _plain(each) == wanted]


def _spellings(folder: Path, part: str) -> list[str]:
    try:
        if part in {".", ".."} or (folder / part).exists():
            return [part]
        names = [path.name for _, path in zip(range(_MOST_NAMES), folder.iterdir(), strict=False)]
    except (OSError, ValueError):
        return []
    return same_name(part, names)


def _plain(name: str) -> str:
    # NFKC would also make other names equal, such as those with a full-width letter.
    return re.sub(r"\s", " ", unicodedata.normalize("NFC", name))
