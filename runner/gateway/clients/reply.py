"""One client's answer: its head, its pieces, its end, and bytes that keep its connection alive."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Final, Self

from aiohttp import web

from runner.gateway.activity import Entry
from runner.gateway.calls import EngineCall
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


class Reply:
    """Answers one request. Use as an async context manager: leaving ends the pings."""

    def __init__(
        self,
        request: web.BaseRequest,
        call: EngineCall,
        entry: Entry,
        timing: Timing = USUAL,
    ) -> None:
        self._request = request
        self._entry = entry
        self._quiet_s = timing.quiet_s
        self._stuck_s = timing.stuck_s
        pings = call.stream and call.translate is None
        self._alive = _ALIVE.get(entry.api, b"") if pings else b""
        self._response: web.StreamResponse | None = None
        self._writing = asyncio.Lock()
        self._since = time.monotonic()  # the last piece, or when one began to be written
        self._task: asyncio.Task[None] | None = None
        self.begun = False  # a byte of the engine's has been sent: it cannot be asked again

    @property
    def headed(self) -> bool:
        """Whether the head has been sent, so that a refusal has to be an event."""
        return self._response is not None

    async def __aenter__(self) -> Self:
        """Begin to watch the client."""
        self._task = asyncio.create_task(self._watch(), name="reply")
        return self

    async def __aexit__(self, *error: object) -> None:
        """End the pings."""
        if isinstance(error[1], asyncio.CancelledError | ClientGone):
            self._entry.hung_up()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head, unless a ping has done so."""
        async with self._writing:
            await self._head(status, headers)

    async def write(self, data: bytes) -> None:
        """Send a piece of the engine's answer. Raises ClientGone."""
        if data:
            self.begun = True
            async with self._writing:
                await self._send(data)

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send an answer that is complete, with its length."""
        async with self._writing:
            self.begun = True
            await self._head(status, headers, length=len(body))
            if body and self._request.method != "HEAD":
                await self._send(body)

    async def end(self) -> web.StreamResponse:
        """End the answer."""
        if self._response is None:
            raise AssertionError
        self._entry.complete = True
        async with self._writing:
            await _or_gone(self._response.write_eof())
        return self._response

    async def refuse(self, refusal: Refusal) -> web.StreamResponse:
        """End the answer with a refusal. Raises it where nothing has been sent yet."""
        self._entry.status = refusal.status
        if not self.headed:
            raise refusal
        async with self._writing:
            await self._send(event_of(self._entry.api, refusal))
        return await self.end()

    async def _head(
        self, status: int, headers: Mapping[str, str], length: int | None = None
    ) -> None:
        if self._response is None:
            response = web.StreamResponse(status=status, headers=headers)
            response.content_length = length
            self._entry.status = status
            await _or_gone(response.prepare(self._request))
            self._response = response

    async def _send(self, data: bytes) -> None:
        if self._response is None:
            raise AssertionError
        self._since = time.monotonic()
        await _or_gone(self._response.write(data))

    async def _watch(self) -> None:
        """Send pings while there is nothing else to send; drop a client that takes nothing."""
        with suppress(ClientGone):
            while True:
                quiet = time.monotonic() - self._since
                if self._writing.locked():
                    if quiet >= self._stuck_s and self._request.transport is not None:
                        self._request.transport.abort()  # which cancels the request
                        return
                    await asyncio.sleep(min(self._quiet_s, self._stuck_s))
                elif self._alive and quiet >= self._quiet_s:
                    async with self._writing:
                        head = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
                        await self._head(200, head)
                        await self._send(self._alive)
                else:
                    await asyncio.sleep(max(0.001, self._quiet_s - quiet) if self._alive else 5)


async def _or_gone(sending: Awaitable[object]) -> None:
    try:
        await sending
    except ConnectionError as error:
        raise ClientGone from error
