"""Takes bodies in: how large, how slow, how many at once, and how much there is to parse."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from aiohttp import web
from aiohttp.http import HttpVersion11

from runner.gateway.aside import Buffer
from runner.gateway.refusal import Refusal

BODY_BYTES: Final = 64 << 20  # a request with twenty pictures has less
OWN_BYTES: Final = 1 << 20  # of one that the gateway answers itself: it names a model
# Of all requests that are being read, wait or are answered: what a few large ones need.
HELD_BYTES: Final = 256 << 20
# A body may take 20 s, and a second more for every 500 bytes: as Apache's mod_reqtimeout has it.
GRACE_S: Final = 20.0
SLOWEST_BYTES_S: Final = 500
# Each value of a JSON document takes up to 0.4 us to parse and 100 bytes to keep, and a context has
# 262,144 tokens at most; nothing else runs while it is parsed.
VALUES: Final = 300_000
_LARGE: Final = 256 << 10  # bytes that take 1 ms to parse; a thread costs 0.1 ms

T = TypeVar("T")


class Intake:
    """The bodies of one gateway."""

    def __init__(self, *, held_bytes: int = HELD_BYTES, grace_s: float = GRACE_S) -> None:
        self._free = held_bytes
        self._grace_s = grace_s
        self._parsing = asyncio.Lock()  # a large one at a time: the others' tokens pass in between

    @contextmanager
    def room(self) -> Iterator["Room"]:
        """Have room for one request's body within the block."""
        room = Room(self)
        try:
            yield room
        finally:
            self._free += room.held

    def take(self, size: int) -> None:
        """Take room. Raises Refusal (503) where there is none."""
        if size > self._free:
            raise Refusal(503, "Too many large requests are being sent at once.", retry_after_s=5)
        self._free -= size

    async def parse(self, data: Buffer, parser: Callable[[], T]) -> T:
        """Return what `parser` makes of a body; a large one is parsed beside the loop."""
        if len(data) < _LARGE:
            return parser()
        async with self._parsing:
            return await asyncio.to_thread(parser)

    async def read(
        self, request: web.BaseRequest, room: "Room", most: int = BODY_BYTES
    ) -> bytearray:
        """Return a request's body of `most` bytes or less. Raises Refusal (408, 413, 417, 503)."""
        if (request.content_length or 0) > most:
            raise _too_large(most)
        await _continue(request)
        data = bytearray()  # grows in place: pieces would have to be joined, all at once
        values = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                async with asyncio.timeout_at(began + self._grace_s + len(data) / SLOWEST_BYTES_S):
                    piece = await request.content.readany()
            except TimeoutError:
                raise Refusal(408, "The body of the request did not arrive in time.") from None
            except (web.RequestPayloadError, asyncio.IncompleteReadError):
                raise Refusal(400, "The body of the request is incomplete or damaged.") from None
            if not piece:
                return data
            if len(data) + len(piece) > most:
                raise _too_large(most)
            room.take(len(piece))
            values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
            if values > VALUES:
                raise Refusal(413, f"The request has more than {VALUES:,} values in its JSON.")
            data += piece


class Room:
    """What one request holds, in bytes."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.held = 0

    def take(self, size: int) -> None:
        """Hold more. Raises Refusal (503)."""
        self._intake.take(size)
        self.held += size


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"The request is larger than {most >> 20} MiB.")


async def _continue(request: web.BaseRequest) -> None:
    """Let a client send its body that waits to be told so; a refused one never sends it."""
    expected = request.headers.get("Expect", "")
    if not expected or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise Refusal(417, f"Expect: {expected[:40]!r} is not known; only 100-continue is.")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # as aiohttp's own: nothing of the answer has been sent
