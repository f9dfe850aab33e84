"""One question to the engine, over a connection of its own.

aiohttp reads the answer. Its client is not used: what it does beside that (redirects, cookies,
names, a pool of connections) is worth nothing here, as llama-server closes the connection after
each stream, and took longer than all that the gateway does itself before the engine is asked.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy

from runner.gateway.aside import Buffer
from runner.net.endpoint import Endpoint

_CONNECT_S: Final = 5.0
_PIECE_BYTES: Final = 256 << 10  # of a body that is sent at once: 0.1 ms
SPARES: Final = 4  # as many answers as most servers write at once
# llama-server hangs up where nothing is asked for 5 s (cpp-httplib 0.60,
# CPPHTTPLIB_KEEPALIVE_TIMEOUT_SECOND); until then each takes a thread, of which it makes as many as
# are needed.
SPARE_S: Final = 3.0
_GONE: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)


class EngineLost(Exception):  # noqa: N818 - what it means for the request is decided elsewhere
    """The engine closed the connection, or never took it. `asked`: it has had the request."""

    def __init__(self, *, asked: bool) -> None:
        super().__init__()
        self.asked = asked


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """The head of an answer, and its body while it arrives."""

    status: int
    headers: CIMultiDictProxy[str]
    _content: aiohttp.StreamReader

    async def read(self) -> bytes:
        """Return what has arrived, empty at the end. Raises EngineLost where it breaks off."""
        try:
            return await self._content.readany()
        except _GONE as error:
            raise EngineLost(asked=True) from error


class SpareLines:
    """Connections that are opened before they are needed. Close it at the end.

    To open one wakes the engine, which then has its turn before the gateway goes on: 3 ms before
    the first token where all cores are busy (x86-64, two cores).
    """

    def __init__(self) -> None:
        self._spare: deque[tuple[Endpoint, ResponseHandler, asyncio.TimerHandle]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._spare)

    def open(self, endpoint: Endpoint) -> None:
        """Begin to open one more, unless there are enough."""
        if not self._closed and len(self._spare) + len(self._opening) < SPARES:
            task = asyncio.create_task(self._open(endpoint))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def take(self, endpoint: Endpoint) -> ResponseHandler | None:
        """Return one that is open; None where there is none."""
        while self._spare:
            place, protocol, late = self._spare.popleft()
            late.cancel()
            if place == endpoint and protocol.is_connected():
                return protocol
            protocol.abort()
        return None

    def close(self) -> None:
        """Hang up, and open no more; safe to call twice."""
        self._closed = True
        for task in self._opening:
            task.cancel()
        while self._spare:
            self._drop_first()

    async def _open(self, endpoint: Endpoint) -> None:
        with suppress(*_GONE):
            protocol = await _connected(endpoint)
            late = asyncio.get_running_loop().call_later(SPARE_S, self._drop_first)
            self._spare.append((endpoint, protocol, late))

    def _drop_first(self) -> None:
        _, protocol, late = self._spare.popleft()
        late.cancel()
        protocol.abort()


class EngineLine:
    """A connection to the engine, for one question. Close it, also in the middle of an answer."""

    def __init__(self, endpoint: Endpoint, spare: SpareLines | None = None) -> None:
        self._endpoint = endpoint
        self._spare = spare
        self._place = urlsplit(endpoint.base_url)
        self._protocol: ResponseHandler | None = None

    async def ask(
        self,
        method: str,
        path: str,
        body: Sequence[Buffer] = (),
        headers: Mapping[str, str] | None = None,
    ) -> EngineAnswer:
        """Send a request; return its answer when the head is there. Raises EngineLost."""
        try:
            spare = None if self._spare is None else self._spare.take(self._endpoint)
            self._protocol = await _connected(self._endpoint) if spare is None else spare
        except _GONE as error:
            raise EngineLost(asked=False) from error
        self._protocol.set_response_params(
            skip_payload=method == "HEAD", read_until_eof=True, auto_decompress=False
        )
        try:
            writer = StreamWriter(self._protocol, asyncio.get_running_loop())
            head = self._head(sum(map(len, body)), headers or {})
            await writer.write_headers(f"{method} {path} HTTP/1.1", head)
            await _send(writer, body)
            answer, content = await self._protocol.read()
        except _GONE as error:
            raise EngineLost(asked=True) from error
        return EngineAnswer(answer.code, answer.headers, content)

    def close(self) -> None:
        """Hang up: the engine ends what it does for it."""
        if self._protocol is not None:
            self._protocol.abort()

    def _head(self, size: int, headers: Mapping[str, str]) -> CIMultiDict[str]:
        own = {
            "Host": self._place.netloc,
            "Content-Length": str(size),
            "Connection": "close",
        }
        return CIMultiDict(own | self._endpoint.headers() | dict(headers))


async def _connected(endpoint: Endpoint) -> ResponseHandler:
    loop, place = asyncio.get_running_loop(), urlsplit(endpoint.base_url)
    async with asyncio.timeout(_CONNECT_S):
        _, protocol = await loop.create_connection(
            lambda: ResponseHandler(loop), place.hostname or "", place.port or 80
        )
    return protocol


async def _send(writer: StreamWriter, body: Sequence[Buffer]) -> None:
    """Send a body: what is small in one packet with the head, the rest as fast as it is taken."""
    for part in body:
        view = memoryview(part)
        for at in range(0, len(view), _PIECE_BYTES):
            await writer.write(view[at : at + _PIECE_BYTES])
    writer.send_headers()  # where nothing was sent with them
