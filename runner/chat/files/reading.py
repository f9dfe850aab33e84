"""Reads one text file: never a device or a pipe, never more than the bound, in any usual encoding.

All of it blocks: call it in a thread. It goes piece by piece, so that no single step keeps Python
to itself for long.
"""

import codecs
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base.errors import BadFile
from runner.base.text import clean, clean_name
from runner.chat.files.attached import Stamp
from runner.chat.files.mentions import ranges

FILE_BYTES: Final = 32 << 20  # ten times what fits the largest context; lines of it can be taken
PIECE: Final = 256 << 10
_SNIFFED: Final = 8000  # bytes in which Git looks for a zero byte to call a file binary
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, which begins in the same way
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What text in no other encoding is taken for: Latin-1 with the letters that Windows adds to it. A
# byte that it does not have becomes the sign for that.
FALLBACK: Final = "cp1252"
_FALLBACK_NAME: Final = "Latin-1"
_CONTROLS: Final = bytes(set(range(0x20)) - set(b"\t\n\r\f\x1b"))
AS_TEXT: Final = "Put a space after the @ to send the name as text."


@dataclass(frozen=True, slots=True)
class FileText:
    """A text that was read. `lines` it has in all; `taken`: which, in words; `note`: what was done.

    `notes` are for people.
    """

    text: str
    lines: int
    taken: str = ""
    notes: tuple[str, ...] = ()


def bad(path: object, why: str, *, next: str = AS_TEXT) -> BadFile:  # noqa: A002 - as SteprunError's
    """Return the error of a file that cannot be attached."""
    return BadFile(f"{clean_name(str(path), 80)} cannot be attached.", why=why, next=next)


def stamp_of(path: Path) -> Stamp | None:
    """Return the state of a file, None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def read_bytes(path: Path, most: int = FILE_BYTES) -> bytes:
    """Return a regular file's bytes. Raises `BadFile`."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    # A pipe that nobody writes to would be waited for, and to open a device may do something.
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise bad(path.name, _kind(found.st_mode))
        if found.st_size > most:
            raise _too_large(path, most)
        with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # exchanged meanwhile
                raise bad(path.name, "It is not a regular file.")
            pieces: list[bytes] = []
            taken = 0
            while piece := file.read(PIECE):
                pieces.append(piece)
                taken += len(piece)
                if taken > most:  # files of /proc have no size
                    raise _too_large(path, most)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise bad(path.name, f"{reason}.") from error
    return b"".join(pieces)


def _too_large(path: Path, most: int) -> BadFile:
    return bad(
        path.name, f"It is larger than {most >> 20} MiB.", next="Save a part in another file first."
    )


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISDIR, "a folder"),
    )
    return f"It is {next((name for test, name in kinds if test(mode)), 'not a regular file')}."


def encoding_of(data: bytes) -> str:
    """Return how a text is encoded, empty where it is none but binary. Pure."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return name
    head = data[:_SNIFFED]
    if b"\0" in head:
        return ""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(data), PIECE):
            decoder.decode(data[at : at + PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        # One control character in thirty bytes is not in any text.
        controls = len(head) - len(head.translate(None, _CONTROLS))
        return "" if controls * 30 > len(head) else FALLBACK
    return "utf-8"


def decoded(data: bytes, encoding: str) -> str:
    """Return a text with plain newlines and without control characters. Pure."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding)("replace"), translate=True
    )
    pieces = [clean(decoder.decode(data[at : at + PIECE])) for at in range(0, len(data), PIECE)]
    return "".join([*pieces, clean(decoder.decode(b"", final=True))])


def text_of(name: str, data: bytes, part: str = "") -> FileText:
    """Return a file's text, or the lines of it that `part` names (`1-40,60`). Pure.

    Raises `BadFile` where it is no text, or has no such lines.
    """
    encoding = encoding_of(data)
    if not encoding:
        raise bad(name, "It is a binary file, and only text, PDF and pictures can be read.")
    text = decoded(data, encoding)
    notes = []
    if encoding == FALLBACK:
        notes.append(f"read as {_FALLBACK_NAME}")
    if not text or text.isspace():
        raise bad(name, "It is empty.")
    lines = text.count("\n") + (not text.endswith("\n"))
    if not part:
        return FileText(text, lines, notes=tuple(notes))
    every = text.splitlines(keepends=True)
    chosen: list[str] = []
    which: list[str] = []
    for first, last in ranges(part):
        last = min(last or lines, lines)  # noqa: PLW2901 - the same range, made to fit
        if first <= last:
            chosen += every[first - 1 : last]
            which.append(f"{first:,}-{last:,}" if last > first else f"{first:,}")
    if not chosen:
        raise bad(f"{name}#{part}", f"The file has {lines:,} lines.")
    kind = "lines" if len(chosen) > 1 else "line"
    return FileText("".join(chosen), lines, f"{kind} {', '.join(which)} of {lines:,}", tuple(notes))
