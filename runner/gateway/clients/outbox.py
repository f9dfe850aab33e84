"""What is on its way to one client: pieces that it does not take yet wait here, not at the engine.

So a client that reads slowly, or not at all, holds its place at the engine no longer than any
other one. Where a client keeps up, a piece goes straight to its socket: no task, no copy.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

# Of one answer: the engine sends 250 bytes a token, so this is 16,000 tokens.
EACH_BYTES: Final = 4 << 20
ALL_BYTES: Final = 128 << 20  # of all answers: a hostile client fills memory no further


class Writer(Protocol):
    """aiohttp's writer of an answer's body."""

    async def write(self, chunk: bytes, *, drain: bool = True) -> None:
        """Write; `drain`: wait afterwards where the client does not take it."""

    async def drain(self) -> None:
        """Return when the client has taken what was written."""


class Client(Protocol):
    """aiohttp's side of its connection."""

    @property
    def writing_paused(self) -> bool:
        """Whether it has not taken yet what was written."""


class Held:
    """The bytes that wait for all clients together, and how many there may be."""

    def __init__(self, each: int = EACH_BYTES, of_all: int = ALL_BYTES) -> None:
        self._each = each
        self._all = of_all
        self.size = 0

    def fits(self, own: int, more: int) -> bool:
        """Whether `more` bytes may wait beside `own` ones of the same answer."""
        return own + more <= self._each and self.size + more <= self._all


class Outbox:
    """The pieces of one answer, in their order, on their way to a client."""

    def __init__(self, writer: Writer, client: Client, held: Held) -> None:
        self._writer = writer
        self._client = client
        self._held = held
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    @property
    def behind(self) -> bool:
        """Whether the client has not taken yet what it was sent."""
        return self._task is not None or self._client.writing_paused

    async def put(self, data: bytes) -> None:
        """Send a piece; wait only where too much waits already. Raises ConnectionError."""
        while self._size and not self._held.fits(self._size, len(data)):
            self._moved.clear()
            await self._moved.wait()
        if not self.behind:
            await self._writer.write(data, drain=False)
            return
        if self._task is None:
            self._task = asyncio.create_task(self._send(), name="outbox")
        elif self._task.done():
            self._task.result()
        self._count(len(data))
        self._pieces.append(data)

    async def empty(self) -> None:
        """Return when the client has taken everything. Raises ConnectionError."""
        if self._task is not None:
            await self._task
        await self._writer.drain()

    async def close(self) -> None:
        """Forget what waits; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._forget()

    def _count(self, size: int) -> None:
        self._size += size
        self._held.size += size
        self._moved.set()

    def _forget(self) -> None:
        self._pieces.clear()
        self._count(-self._size)

    async def _send(self) -> None:
        try:
            await self._writer.drain()
            while self._pieces:
                data = self._pieces.popleft()
                self._count(-len(data))
                await self._writer.write(data, drain=False)
                await self._writer.drain()
        except ConnectionError:
            self._forget()  # the next `put` says so
            raise
        self._task = None
