"""Pieces of a GGUF file that some uploaders cut with `split`: they must be joined before use.

Not the shards of llama.cpp (`...-00001-of-0000N.gguf`), which an engine finds by itself.
"""

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base.errors import BadFile
from runner.base.text import shown

# `part1of2` (mradermacher), `-split-a` (TheBloke), `.part-01`, `.001`, and `split`'s own `.aa`.
_PIECE: Final = re.compile(
    r"(?P<whole>.+\.gguf)"
    r"(?:[._-]?(?P<word>part|split|piece|chunk)[._-]?(?P<id>\d{1,5}|[a-z]{1,3})"
    r"|[._-](?P<number>\d{1,5})|[._-](?P<letters>a{1,2}[a-z]))"
    r"(?:[._-]?of[._-]?(?P<count>\d{1,5}))?",
    re.IGNORECASE | re.ASCII,
)
_MOST: Final = 1000
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class _Piece:
    """`number`: its place, letters counted as digits to the base 26; `count`: 0 if not told."""

    path: Path
    whole: str
    style: tuple[str, int]
    number: int
    count: int


def is_piece(name: str) -> bool:
    """Whether a file's name is that of a piece."""
    return _parsed(Path(name)) is not None


def must_be_joined(path: Path) -> BadFile | None:
    """Return what to tell who gives one piece, or a name that only its pieces have; None else.

    BadFile's `next` is the command that joins them, for this system's shell.
    """
    try:
        files = [entry for entry in path.parent.iterdir() if is_piece(entry.name)]
    except OSError:
        return None
    given = _parsed(path)
    pieces = [piece for piece in map(_parsed, files) if piece]
    if given is None:
        firsts = [piece for piece in pieces if piece.whole == path.name]
        given = min(firsts, key=lambda piece: piece.number, default=None)
    if given is None:
        return None
    own = (given.whole, given.style, given.count)
    group = {p.number: p for p in pieces if (p.whole, p.style, p.count) == own}
    return _advice(given, group)


def in_folder(folder: Path) -> BadFile | None:
    """Return the same for a folder whose only model is in pieces; None for any other."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return None
    firsts = [name for name in names if is_piece(name)]
    if not firsts or any(name.lower().endswith(".gguf") for name in names):
        return None
    return must_be_joined(folder / firsts[0])


def on_network(name: str) -> BadFile | None:
    """Return what to tell who gives the address of a piece; None where the name is no piece's."""
    found = _parsed(Path(name))
    if found is None:
        return None
    return BadFile(
        f"{shown(name)} is one piece of {shown(found.whole)}.",
        why="Pieces want joining before a model can be read.",
        next="Download all of them into one folder; then steprun plan --model FOLDER says how.",
    )


def _advice(given: _Piece, group: dict[int, _Piece]) -> BadFile:
    whole = given.path.with_name(given.whole)
    numbers = sorted(group)
    first = 0 if given.style[0] == "letter" or 0 in group else 1
    last = min(given.count or max(numbers, default=1), _MOST)
    missing = [n for n in range(first, last + 1) if n not in group]
    what = f"{shown(given.path.name)} is one piece of {shown(given.whole)}."
    if whole.exists():
        return BadFile(
            what,
            why="They are pieces that want joining, and the whole file is there already.",
            next=f"Give the whole file: --model {_quoted(whole)}",
        )
    if missing or len(numbers) < 2:
        names = [str(n) if given.style[0] == "digit" else _letters(n, given) for n in missing]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        which = f"Missing: piece {', '.join(names[:_NAMED])}{more}." if names else ""
        return BadFile(
            what,
            why=f"The pieces want joining, and not all are there. {which}".rstrip(),
            next="Download the other pieces into the same folder; this one can stay.",
        )
    return BadFile(
        what,
        why=f"Its {len(numbers)} pieces want joining into one file; nothing is to be downloaded.",
        next=join_command([group[n].path for n in numbers], whole),
    )


def join_command(pieces: Iterable[Path], whole: Path, *, windows: bool = os.name == "nt") -> str:
    """Return the command that joins pieces, in order, quoted for this system's shell."""
    if windows:  # for cmd; PowerShell takes it behind `cmd /c`
        parts = "+".join(f'"{piece}"' for piece in pieces)
        return f'copy /b {parts} "{whole}"'
    return f"cat {' '.join(map(_quoted, pieces))} > {_quoted(whole)}"


def _quoted(path: Path) -> str:
    return f'"{path}"' if os.name == "nt" else shlex.quote(str(path))


def _parsed(path: Path) -> _Piece | None:
    found = _PIECE.fullmatch(path.name)
    if found is None:
        return None
    place = found["id"] or found["number"] or found["letters"]
    if place.isdigit():
        style, number = ("digit", 0), int(place)
    else:
        style, number = ("letter", len(place)), 0
        for letter in place.lower():
            number = 26 * number + ord(letter) - ord("a")
    return _Piece(path, found["whole"], style, number, int(found["count"] or 0))


def _letters(number: int, like: _Piece) -> str:
    made = ""
    for _ in range(like.style[1]):
        number, rest = divmod(number, 26)
        made = chr(ord("a") + rest) + made
    return made
