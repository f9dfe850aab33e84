"""Converts the pictures of a server's requests, in a process of its own.

`python -m runner.chat.images.converting` reads sources from its standard input and writes results
to its standard output, one after the other, until its input ends. So a server stays up whatever a
decoder does: one that crashes, hangs or takes too much memory takes this process with it, and one
that keeps Python's lock for a tenth of a second stops nobody else.

A source is a frame (`frame`): first a letter, `u` for a data URL (or bare base64), `b` for the
bytes of a file; then the source. A result is one, too: `=` where the source is as it should be,
`+` and the data URL to use instead, or `-` and why the picture cannot be used.
"""

import base64
import binascii
import re
import struct
import sys
from contextlib import suppress
from typing import IO, Final
from urllib.parse import unquote_to_bytes

from runner.base.errors import BadFile, SteprunError
from runner.chat.images.load import picture_from_bytes

HEAD: Final = struct.Struct(">cQ")  # the letter, and the bytes that follow
# What decoding may take of memory beside the program: `load.MOST_BYTES`, the source and the result
# in all their forms. A file may claim fewer pixels than it unpacks to; only Linux keeps this limit.
DATA_BYTES: Final = 1 << 30
_NAME: Final = "The picture"
# What llama-server (b11549, `handle_media`) takes without a second thought. All else is written
# anew, so that the two never read one text in two ways.
_CANONICAL: Final = re.compile(rb"data:image/[A-Za-z0-9.+-]{1,40};base64,")
_BLANKS: Final = b" \t\r\n"
_DATA: Final = re.compile(rb"data:([^,]{0,200}),", re.IGNORECASE)


def frame(letter: bytes, data: bytes) -> bytes:
    """Return the head of a frame, and what it holds."""
    return HEAD.pack(letter, len(data)) + data


def convert(letter: bytes, source: bytes) -> tuple[bytes, bytes]:
    """Return the letter of a result and its data. Raises nothing: what fails is a result, too."""
    try:
        data, canonical = (source, False) if letter == b"b" else _read(source)
        picture = picture_from_bytes(data, _NAME)
    except SteprunError as error:
        return b"-", " ".join(part for part in (error.why, error.next) if part).encode()
    if canonical and picture.data == data:
        return b"=", b""
    return b"+", picture.data_url().encode()


def _read(source: bytes) -> tuple[bytes, bool]:
    """Return the bytes of a data URL, and whether it is written as the engine wants it."""
    if match := _CANONICAL.match(source):
        with suppress(binascii.Error):
            return binascii.a2b_base64(memoryview(source)[match.end() :], strict_mode=True), True
    head, text = b"base64", source
    if match := _DATA.match(source):
        head, text = match[1], source[match.end() :]
    text = unquote_to_bytes(text) if b"%" in text else text
    if b"base64" not in head.lower():
        return text, False
    text = text.translate(bytes.maketrans(b"-_", b"+/"), _BLANKS).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True), False
    except binascii.Error as error:
        raise BadFile(_NAME, why="It is not valid base64.") from error


def main(source: IO[bytes], result: IO[bytes]) -> None:
    """Convert what arrives until nothing does."""
    bound()
    while len(head := source.read(HEAD.size)) == HEAD.size:
        letter, length = HEAD.unpack(head)
        result.write(frame(*convert(letter, source.read(length))))
        result.flush()


def bound() -> None:
    """Limit the memory of this process to `DATA_BYTES` of data, where the system keeps to it."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        if sys.platform.startswith("linux"):  # macOS takes the limit and does not keep it
            resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.stdin.buffer, sys.stdout.buffer)
