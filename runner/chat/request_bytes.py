"""A request's body as bytes, piece by piece: its pictures are big, and the interface must not wait.

Base64 and JSON of 80 MB of pictures take most of a second, and Python runs one thread at a time
even so: they are made a slice at a time, in a thread, while the slice before is being sent.
"""

import asyncio
import base64
import json
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from runner.chat.wire import Picture

SLICE: Final = 3 << 18  # bytes of a picture at a time: a millisecond; three make four characters


class RequestBytes:
    """Makes the bytes of a body whose pictures are `url(picture)` so far."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._pictures: list[Picture] = []

    def url(self, picture: Picture) -> str:
        """Return what stands for a picture's data URL in the body."""
        self._pictures.append(picture)
        return f"{self._mark}:{len(self._pictures) - 1}:"

    async def encoded(self, body: Mapping[str, Any]) -> tuple[int, AsyncGenerator[bytes, None]]:
        """Return how many bytes the body has, and the bytes."""
        pieces = await asyncio.to_thread(self._pieces, body)
        return sum(map(_length, pieces)), self._bytes(pieces)

    def _pieces(self, body: Mapping[str, Any]) -> list[bytes | Picture]:
        # As compact as the HTTP library's own, which sends what is no picture unescaped, too.
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        pieces: list[bytes | Picture] = []
        for at, part in enumerate(re.split(f"{self._mark}:([0-9]+):", text)):
            if at % 2:
                picture = self._pictures[int(part)]
                pieces += [f"data:{picture.mime};base64,".encode(), picture]
            else:
                pieces.append(part.encode())
        return pieces

    async def _bytes(self, pieces: list[bytes | Picture]) -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            for begin in range(0, len(piece.data), SLICE):
                part = piece.data[begin : begin + SLICE]
                yield await asyncio.to_thread(base64.b64encode, part)


def _length(piece: bytes | Picture) -> int:
    return len(piece) if isinstance(piece, bytes) else 4 * -(-len(piece.data) // 3)
