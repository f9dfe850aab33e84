"""Bounded reading of bytes, numbers and strings: the lowest layer of `runner.gguf.header`.

Nothing in a file is trusted before it is checked against the file's own size and against the
limits here, so that no header, however malicious, takes much time or memory.
"""

import re
import struct
from typing import BinaryIO, NoReturn

from runner.base.errors import BadFile

# The largest real headers (a vocabulary of 262,144 with scores and merges) take about 20 MB and
# 800,000 strings; these limits are far above, and keep the worst file under a second and 100 MB.
HEADER_LIMIT = 256 << 20  # bytes from the start of the file
STRINGS_LIMIT = 3_000_000  # in all string arrays together
KEPT_LIMIT = 16 << 20  # bytes of text that are kept
ENTRIES_LIMIT = 65_536  # keys, and tensors; llama.cpp's 512 layers of 40 tensors are 20,480

_FIRST_CHUNK = 64 << 10  # enough for any shard but the first
_CHUNK = 4 << 20
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_AGAIN = "Download the file again."

# ggml's type number -> name, elements per block, bytes per block: `enum ggml_type` in ggml.h and
# the block structs in ggml-common.h (llama.cpp b11549). The gaps are types that were withdrawn.
# Importing `gguf` for this would cost numpy, 100 ms and more; a test compares the two.
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}


def other_format(head: bytes) -> str:
    """Return what a file is instead of a GGUF file, from its first bytes."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer: a few lines in place of a file that is not downloaded yet."
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "It is a web page: a login or an error was saved in place of the file."
    if text.startswith((b'{"error', b"entry not found", b"invalid username", b"access to model")):
        return "It is an error message of the server, saved in place of the file."
    if not head.strip(b"\0"):
        return "It begins with zeros: a download that reserved its space and was not finished."
    if head.startswith(b"PK\x03\x04"):
        return "It is a zip archive (or a PyTorch file, which is one)."
    if head.startswith((b"lmgg", b"tjgg", b"fmgg", b"algg")):
        return "It is in a format older than GGUF, which no current engine loads."
    if re.match(rb'.{8}\{"', head, re.DOTALL):
        return "It is a safetensors file; llama.cpp loads GGUF only."
    return "It does not begin with the letters GGUF."


class Scanner:
    """Reads a stream forward. `what` names the entry being read, for the errors.

    Every method raises BadFile, naming the field, where the file ends too early or the header
    is larger than any real one.
    """

    __slots__ = ("_base", "_buffer", "_kept", "_limit", "_pos", "_stream", "_strings", "name",
                 "size", "what")  # fmt: skip

    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        """Begin at the start of a seekable `stream` of `size` bytes that errors call `name`."""
        self.name = name
        self.size = size
        self.what = "the header"
        self._stream = stream
        self._limit = min(size, HEADER_LIMIT)
        self._buffer = b""
        self._base = 0  # where in the file the buffer begins
        self._pos = 0  # where in the buffer the next field begins; may be past its end
        self._kept = 0
        self._strings = 0

    @property
    def position(self) -> int:
        """Where in the file the next field begins."""
        return self._base + self._pos

    def fail(self, why: str, next_step: str = _AGAIN) -> NoReturn:
        """Refuse the file."""
        raise BadFile(f"{self.name} is not a valid GGUF file.", why=why, next=next_step)

    def peek(self, count: int) -> bytes:
        """Return up to `count` bytes from the position on, and stay there."""
        count = min(count, self.size - self.position)
        data = self.raw(count, "the first bytes")
        self._pos -= count
        return data

    def u32(self, field: str) -> int:
        """Read an unsigned number of 32 bits."""
        return self.fields(_U32, field)[0]

    def u64(self, field: str) -> int:
        """Read an unsigned number of 64 bits."""
        return self.fields(_U64, field)[0]

    def fields(self, layout: struct.Struct, field: str) -> tuple[int, ...]:
        """Read several numbers at once."""
        at = self._take(layout.size, field)  # first: it may change the buffer
        return layout.unpack_from(self._buffer, at)

    def raw(self, count: int, field: str) -> bytes:
        """Read `count` bytes."""
        at = self._take(count, field)
        return self._buffer[at : at + count]

    def text(self, field: str) -> str:
        """Read a string and keep it: its length, then UTF-8 (kept visible where it is none)."""
        count = self.u64(field)
        self._kept += count
        if self._kept > KEPT_LIMIT and self.position + count <= self._limit:
            self.fail(f"{self.what}: {field}: the header holds more than 16 MiB of text.")
        return self.raw(count, field).decode("utf-8", "backslashreplace")

    def skip(self, count: int, field: str) -> None:
        """Jump over `count` bytes."""
        self._check(count, field)
        self._pos += count

    def skip_strings(self, count: int, field: str) -> None:
        """Jump over `count` strings without keeping them."""
        # Each takes 8 bytes at least, so this many cannot be there: say so before the loop.
        self._check(8 * count, field)
        self._strings += count
        if self._strings > STRINGS_LIMIT:
            self.fail(f"{self.what}: {field}: more than {STRINGS_LIMIT:,} strings.")
        length_at = _U64.unpack_from
        buffer, pos = self._buffer, self._pos
        while count:
            try:  # the hot loop: a vocabulary and its merges are 256,637 turns
                while count:
                    pos += 8 + length_at(buffer, pos)[0]
                    count -= 1
            except (struct.error, OverflowError):  # past the buffer's end, or past any file's
                self._pos = pos
                self._pos = self._take(8, field)
                buffer, pos = self._buffer, self._pos
        self._pos = pos
        self._check(0, field)

    def _take(self, count: int, field: str) -> int:
        """Have `count` bytes in the buffer; return where in it they begin, and pass over them."""
        at = self._pos
        if at + count > len(self._buffer):
            self._check(count, field)
            self._base += at
            chunk = _CHUNK if self._base else _FIRST_CHUNK
            self._stream.seek(self._base)
            self._buffer = _read(self._stream, min(max(chunk, count), self._limit - self._base))
            if len(self._buffer) < count:
                self._cut(field)
            at = 0
        self._pos = at + count
        return at

    def _check(self, count: int, field: str) -> None:
        end = self._base + self._pos + count
        if end <= self._limit:
            return
        if end <= self.size:
            self.fail(f"{self.what}: {field}: the header is larger than 256 MiB.")
        self._cut(field, end)

    def _cut(self, field: str, end: int | None = None) -> NoReturn:
        need = f" {end:,} bytes" if end else " more"
        self.fail(
            f"{self.what}: {field}: the file ends after {self.size:,} bytes, where this field"
            f" needs{need}. It was cut off, or the field is wrong."
        )


def _read(stream: BinaryIO, count: int) -> bytes:
    """Read `count` bytes, fewer only at the end: raw streams may give less than asked."""
    data = stream.read(count)
    while len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            break
        data += more
    return data
