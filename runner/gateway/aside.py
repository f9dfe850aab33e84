"""Sets long base64 aside while a body is parsed, and puts it back where it was. Pure.

A picture arrives as megabytes within a JSON text. Whoever parses, copies or writes them holds
Python's lock, and nothing else is answered meanwhile. So they stay where they have arrived: a short
mark takes their place in what is parsed, and the very bytes follow it into what the engine is sent.
"""

import re
import secrets
from collections.abc import Iterable
from typing import Final

Buffer = bytes | bytearray | memoryview

# A run of twice as many bytes is found for sure: one look in each such stretch meets it.
_STRETCH: Final = 8 << 10
_SEEN: Final = 64  # bytes of a look
# Of a run that stay before its mark: whoever looks at the beginning of a text sees all of it, and
# an escape such as \u0041 that the run begins within stays whole.
_KEPT: Final = 256
_PIECE: Final = 256 << 10  # bytes that are matched at once: 0.4 ms
_RUN: Final = re.compile(rb"[A-Za-z0-9+/=_-]*")
_QUOTE: Final = b'"'


class Aside:
    """What is set aside of one body. `rest`: the body with a mark in place of each piece."""

    def __init__(self, data: Buffer = b"") -> None:
        self._key = ""
        self._pieces: list[memoryview] = []
        left = self._cut(memoryview(data))
        self.rest: Buffer = b"".join(left) if self._pieces else data

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self._pieces)

    def add(self, piece: Buffer) -> str:
        """Set a piece aside; return its mark. JSON has nothing to escape in either."""
        self._key = self._key or secrets.token_hex(16)  # so that no body holds it
        self._pieces.append(memoryview(piece))
        return f"{self._key}{len(self._pieces) - 1:08d}"

    def parts(self, text: bytes) -> list[Buffer]:
        """Return a text with the pieces in place of their marks, in parts, uncopied."""
        if not self:
            return [text]
        found: list[Buffer] = []
        view, at = memoryview(text), 0
        for mark in self._marks(text):
            found += (view[at : mark.start()], self._pieces[int(mark[1])])
            at = mark.end()
        return [*found, view[at:]]

    def whole(self, text: str) -> str:
        """Return a text with the pieces in place of their marks."""
        if not self or self._key not in text:
            return text
        return b"".join(self.parts(text.encode())).decode()

    def size(self, but: Iterable[str]) -> int:
        """Return the bytes of the body without the pieces whose marks are in some texts."""
        left = {int(mark[1]) for text in but for mark in self._marks(text.encode())}
        sizes = [len(each) for number, each in enumerate(self._pieces) if number not in left]
        return len(self.rest) + sum(sizes)

    def _marks(self, text: bytes) -> Iterable[re.Match[bytes]]:
        return re.finditer(rb"%b(\d{8})" % self._key.encode(), text)

    def _cut(self, data: memoryview) -> list[Buffer]:
        """Set the long runs of base64 aside that end a JSON text; return what is left, in parts.

        Behind such a run and its quotation mark there can be nothing but the end of a text: what
        stands between two texts has none of base64's letters but numbers and the three words of
        JSON, and a text cannot begin right behind one of them.
        """
        left: list[Buffer] = []
        done, look = 0, _STRETCH
        while look < len(data):
            if _end(data, look, look + _SEEN) - look < min(_SEEN, len(data) - look):
                look += _STRETCH
                continue
            begin = look - _end(bytes(data[max(done, look - _STRETCH) : look])[::-1])
            end = _end(data, look)
            if data[end : end + 1] == memoryview(_QUOTE) and end - begin >= _STRETCH:
                left += (data[done : begin + _KEPT], self.add(data[begin + _KEPT : end]).encode())
                done = end
            look = end + _STRETCH
        return [*left, data[done:]]


def _end(data: Buffer, begin: int = 0, limit: int | None = None) -> int:
    """Return where a run of base64 that begins somewhere ends, at `limit` at the latest."""
    limit = len(data) if limit is None else min(limit, len(data))
    while begin < limit:
        found = _RUN.match(data, begin, min(begin + _PIECE, limit))
        assert found is not None  # noqa: S101 - for the types: it matches nothing, too
        if found.end() < min(begin + _PIECE, limit):
            return found.end()
        begin = found.end()
    return begin
