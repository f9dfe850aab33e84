"""One connection of a client: how long it may take for what, and how many there may be.

aiohttp reads HTTP; what it has no limit for is here: the time for a head, a client that does not
take its answer, the number of connections, and words for what is not HTTP at all.
"""

import asyncio
import logging
from collections import Counter
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from runner.base.files import write_trace
from runner.gateway.admission.attempts import network_of
from runner.gateway.refusal import Refusal, body_of
from runner.gateway.routes import api_of

HEAD_S: Final = 10.0  # from the first byte of a head to its last
IDLE_S: Final = 75.0  # between two requests; nginx's keepalive_timeout
STALL_S: Final = 60.0  # that a client takes nothing of its answer; nginx's send_timeout
HEAD_BYTES: Final = 64 << 10  # of a whole head; browsers send every cookie of localhost
LINE_BYTES: Final = 16 << 10  # of one line
HEADERS: Final = 100  # Apache's LimitRequestFields
_TRACES: Final = 20  # that one gateway writes: a fault may repeat with every request
_LOCAL: Final = frozenset({"127.0.0.1", "::/64", ""})
_log = logging.getLogger(__name__)
# Of a request: the headers that each answer to it has.
ANSWER_HEADERS: Final = web.RequestKey("answer_headers", dict[str, str])


class Incoming(web.BaseRequest):
    """A request whose answer has headers that were decided before anything else."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        # aiohttp calls this before it sends the head of any answer; web.Request does the same.
        response.headers.update(self.get(ANSWER_HEADERS, {}))


class Connection(web.RequestHandler):
    """One connection. `moved`: when its client last sent something, of the loop's clock."""

    __slots__ = ("_head_bytes", "_late", "_stalled", "moved", "network", "refused")

    def __init__(self, server: "Connections", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            logger=_log,
            keepalive_timeout=IDLE_S,
            max_line_size=LINE_BYTES,
            max_field_size=LINE_BYTES,
            max_headers=HEADERS,
            auto_decompress=False,
        )
        self.moved = loop.time()
        self.network = ""
        self.refused = False
        self._head_bytes = 0
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def unfinished(self) -> bool:
        """Whether nothing is owed to its client: it has not sent a whole request."""
        request = self._current_request
        return request is None or not request.content.is_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        peer = transport.get_extra_info("peername")
        self.network = network_of(peer[0] if isinstance(peer, tuple) else "")
        server = self._manager
        assert isinstance(server, Connections)  # noqa: S101 - for the types: it made this
        if not server.make_room(self):
            self.refused = True
            self.transport = transport  # type: ignore[assignment]
            self._refuse(
                Refusal(503, "Too many connections are open.", retry_after_s=5),
            )
            return
        super().connection_made(transport)
        # Paused until the system has everything: an answer ends then, and its clock with it.
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=1, low=0)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._in_time()
        self._goes_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and watch how long a head takes."""
        self.moved = self._loop.time()
        super().data_received(data)
        waiting = self._waiter is not None and not self._waiter.done()
        if not waiting or self._force_close:
            self._in_time()
        elif data:
            self._head_bytes += len(data)
            if self._late is None:
                self._late = self._loop.call_later(HEAD_S, self._head_is_late)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(Refusal(431, f"The headers are larger than {HEAD_BYTES >> 10} KiB."))

    def eof_received(self) -> None:
        """Take a client that closes its sending half for one that has hung up.

        So do llama-server and nginx: a program that has ended looks the same from here. What is
        sent already reaches it.
        """
        super().eof_received()  # None, for which asyncio closes

    def pause_writing(self) -> None:
        """Note that the client does not take what is sent."""
        super().pause_writing()
        if isinstance(self.transport, asyncio.WriteTransport):
            self._look(self.transport)

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._goes_on()
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP, or what was a fault of the gateway."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status < 500:
            refusal = _malformed(exc, message or "")
        else:
            server = self._manager
            if exc is not None and isinstance(server, Connections):
                server.fault(exc)
            refusal = Refusal(500, "The gateway failed at this request; its log says why.")
        response = web.Response(
            status=refusal.status,
            body=body_of(api_of(request.path), refusal),
            headers={"Content-Type": "application/json; charset=utf-8"},
        )
        response.force_close()
        return response

    def drop(self) -> None:
        """Make room for another."""
        self._abort()

    def _head_is_late(self) -> None:
        self._late = None
        if self._waiter is not None and not self._waiter.done():
            self._refuse(Refusal(408, f"No request arrived within {HEAD_S:.0f} s."))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer before there is a request, and close."""
        self._in_time()
        body = body_of(api_of("/"), refusal)
        reason = web.Response(status=refusal.status).reason
        lines = [
            f"HTTP/1.1 {refusal.status} {reason}",
            "Content-Type: application/json; charset=utf-8",
            f"Content-Length: {len(body)}",
            *([f"Retry-After: {refusal.retry_after_s}"] if refusal.retry_after_s else ()),
            "Connection: close",
        ]
        if self.transport is not None:
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.force_close()

    def _in_time(self) -> None:
        self._head_bytes = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _look(self, transport: asyncio.WriteTransport, before: int | None = None) -> None:
        """Drop a client that has taken nothing of `before` bytes, or look again later."""
        size = transport.get_write_buffer_size()
        if before is not None and size >= before:
            transport.abort()
        else:
            self._stalled = self._loop.call_later(STALL_S, self._look, transport, size)

    def _goes_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Connections(web.Server):
    """All connections of one gateway.

    `most`: at once. Where one more comes, the client that has not sent a whole request and has been
    silent for the longest is dropped for it, so that slow clients never keep others out. One
    network may have a quarter of them; this machine may have them all.
    """

    def __init__(self, handler: Any, most: int) -> None:
        # A client that hangs up needs no answer: the engine stops at once.
        super().__init__(handler, request_factory=_incoming, handler_cancellation=True)
        self.most = most
        self._of_network: Counter[str] = Counter()
        self._traces = 0

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, self._loop)

    def make_room(self, new: Connection) -> bool:
        """Return whether there is room for one more connection, after dropping one if needed."""
        share = self.most if new.network in _LOCAL else self.most // 4
        if self._of_network[new.network] >= share:
            return self._drop_one(new.network)
        return len(self._connections) < self.most or self._drop_one()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count it."""
        super().connection_made(handler, transport)
        self._of_network[_network(handler)] += 1

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Count it no more."""
        if handler in self._connections:
            self._of_network[_network(handler)] -= 1
            self._of_network += Counter()  # forgets those that have none
        super().connection_lost(handler, exc)

    def _drop_one(self, network: str = "") -> bool:
        """Drop the client that is silent for longest, of one network or of all."""
        slow = [
            each
            for each in self._connections
            if isinstance(each, Connection)
            and each.unfinished
            and each.transport is not None
            and network in {"", each.network}
        ]
        if slow:
            min(slow, key=lambda each: each.moved).drop()
        return bool(slow)

    def fault(self, error: BaseException) -> None:
        """Keep the trace of a fault of the gateway in a file of its own, and say where."""
        self._traces += 1
        if self._traces <= _TRACES:
            _log.error("The gateway failed at a request. Trace: %s", write_trace(error))


def _network(handler: web.RequestHandler) -> str:
    return handler.network if isinstance(handler, Connection) else ""


def _incoming(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    return Incoming(message, payload, protocol, writer, task, asyncio.get_running_loop())


def _malformed(error: BaseException | None, message: str) -> Refusal:
    if isinstance(error, LineTooLong):
        return Refusal(431, f"A line of the request's head is longer than {LINE_BYTES >> 10} KiB.")
    if "Too many headers" in message:
        return Refusal(431, f"The request has more than {HEADERS} headers.")
    if "'Host'" in message:
        return Refusal(400, "The request needs one Host header.")
    return Refusal(400, "The request is not valid HTTP/1.1.")
