"""One client's answer: its head, its pieces, its end, and bytes that keep its connection alive."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Self, cast

from aiohttp import web

from runner.gateway.activity import Entry
from runner.gateway.calls import EngineCall
from runner.gateway.clients.outbox import Held, Outbox, Writer
from runner.gateway.refusal import Api, Refusal, event_of
from runner.gateway.timing import USUAL, Timing

# What a client ignores while it waits; Ollama's API has nothing of the kind.
_ALIVE: Final = {
    Api.OPENAI: b": waiting\n\n",
    Api.RESPONSES: b": waiting\n\n",
    Api.ANTHROPIC: b'event: ping\ndata: {"type": "ping"}\n\n',
}


class ClientGone(Exception):  # noqa: N818 - nobody's fault
    """The client has hung up."""


class _Together(web.StreamResponse):
    """An answer whose head is sent with the first piece: its client is woken once for both."""

    _send_headers_immediately = False


class Reply:
    """Answers one request. Use as an async context manager: leaving ends the pings.

    `held`: where pieces wait for a client that reads slowly. What is written never waits for it,
    but for `end`: by then the engine is free for others.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        call: EngineCall,
        entry: Entry,
        held: Held,
        timing: Timing = USUAL,
    ) -> None:
        self._request = request
        self._entry = entry
        self._quiet_s = timing.quiet_s
        pings = call.stream and call.translate is None
        self._alive = _ALIVE.get(entry.api, b"") if pings else b""
        self._response: web.StreamResponse | None = None
        self._outbox = Outbox(cast("Writer", request.writer), request.protocol, held)
        self._body = b""  # of an answer that is sent whole
        self._since = time.monotonic()  # the last piece
        self._task: asyncio.Task[None] | None = None
        self.begun = False  # a byte of the engine's has been sent: it cannot be asked again

    @property
    def headed(self) -> bool:
        """Whether the head has been sent, so that a refusal has to be an event."""
        return self._response is not None

    async def __aenter__(self) -> Self:
        """Begin to send pings, where the API has any."""
        if self._alive:
            self._task = asyncio.create_task(self._ping(), name="pings")
        return self

    async def __aexit__(self, *error: object) -> None:
        """End the pings."""
        if isinstance(error[1], asyncio.CancelledError | ClientGone):
            self._entry.hung_up()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._outbox.close()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head, with the first piece, unless a ping has done so. Raises ClientGone."""
        await self._head(status, headers)

    async def write(self, data: bytes) -> None:
        """Send a piece of the engine's answer. Raises ClientGone."""
        if data:
            self.begun = True
            await self._send(data)

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send an answer that is complete, with its length. Raises ClientGone."""
        self.begun = True
        self._body = b"" if self._request.method == "HEAD" else body
        await self._head(status, headers, length=len(body))

    async def end(self) -> web.StreamResponse:
        """End the answer, when the client has taken all of it. Raises ClientGone."""
        if self._response is None:
            raise AssertionError
        self._alive = b""
        self._entry.complete = not self._outbox.behind  # most hang up at the last byte
        with _gone():
            await self._outbox.empty()
            self._entry.complete = True
            await self._response.write_eof(self._body)
        return self._response

    async def refuse(self, refusal: Refusal) -> web.StreamResponse:
        """End the answer with a refusal. Raises it where nothing has been sent yet."""
        self._entry.status = refusal.status
        if not self.headed:
            raise refusal
        await self._send(refusal.before + event_of(self._entry.api, refusal))
        return await self.end()

    async def _head(
        self, status: int, headers: Mapping[str, str], length: int | None = None
    ) -> None:
        if self._response is None:
            self._response = _Together(status=status, headers=headers)
            self._response.content_length = length
            self._entry.status = status
            with _gone():
                await self._response.prepare(self._request)

    async def _send(self, data: bytes) -> None:
        self._since = time.monotonic()
        with _gone():
            await self._outbox.put(data)

    async def _ping(self) -> None:
        """Send pings while there is nothing else to send."""
        with suppress(ClientGone):
            while self._alive:
                quiet = time.monotonic() - self._since
                if quiet < self._quiet_s:
                    await asyncio.sleep(max(0.001, self._quiet_s - quiet))
                elif self._outbox.behind:  # it has enough to read
                    self._since = time.monotonic()
                else:
                    head = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
                    await self._head(200, head)
                    await self._send(self._alive)


@contextmanager
def _gone() -> Iterator[None]:
    """Raise ClientGone where the client's connection is lost within the block."""
    try:
        yield
    except ConnectionError as error:
        raise ClientGone from error
