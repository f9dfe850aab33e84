"""Passes a request to the engine, and its answer back as bytes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from runner.gateway.activity import Entry
from runner.gateway.aside import Buffer
from runner.gateway.calls import EngineCall
from runner.gateway.clients.reply import Reply
from runner.gateway.engine.faults import refusal_of
from runner.gateway.engine.keeper import Keeper, Traffic
from runner.gateway.engine.line import EngineAnswer, EngineLine, EngineLost, SpareLines
from runner.gateway.prompts.headers import headers_of
from runner.gateway.refusal import Refusal
from runner.gateway.timing import USUAL, Timing
from runner.gateway.trouble.endings import refusal_for
from runner.gateway.trouble.repetition import Repetition
from runner.net.endpoint import Endpoint

# Of one connection only, so that they say nothing about the other one.
_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}
)
_CORS: Final = "access-control-"
# A request that the engine has died of must not kill it again and again.
TRIES: Final = 2
_OWN_BYTES: Final = 1 << 20
_EVENT_BYTES: Final = 1 << 20  # a longer event is passed on in parts
PROPS_S: Final = 10.0  # it answers at once, or is busy with a long batch
_LOST: Final = "The engine stopped while it was answering. Send the request again."
_STOPPING: Final = "The server is being stopped. Send the request again in a moment."

Place = Callable[[EngineCall, Endpoint, Entry], AbstractAsyncContextManager[EngineCall]]


@asynccontextmanager
async def anywhere(call: EngineCall, _: Endpoint, __: Entry) -> AsyncIterator[EngineCall]:
    """Leave a request to the engine as it is."""
    yield call


def stopping() -> Refusal:
    """Return the refusal of a server that stops."""
    return Refusal(503, _STOPPING, retry_after_s=30)


class Relay:
    """Asks the engine for everybody. Close it at the end.

    `traffic` is kept up to date, for whoever watches the engine. `place` prepares the engine for
    each try of a request, and has the last word on what it is asked; `begins` hears of each try
    that is about to be passed on.
    """

    def __init__(self, timing: Timing = USUAL) -> None:
        self.traffic = Traffic()
        self.place: Place = anywhere
        self.begins: Callable[[Entry], None] = lambda _: None
        self._timing = timing
        self._stopping = False
        self._running: dict[int, asyncio.Timeout] = {}
        self._ended: dict[int, Refusal] = {}
        self._spare = SpareLines()
        # Who was aboard when an engine died is asked again alone, until the engine has begun with
        # the answer: so one request that kills it takes nobody else along a second time.
        self._suspects = asyncio.Lock()

    async def close(self) -> None:
        """Ask no more: answers under way end with a refusal."""
        self._stopping = True
        self._spare.close()
        for running in self._running.values():
            running.reschedule(0.0)  # long ago
        await asyncio.sleep(0)

    def end(self, entry: Entry, refusal: Refusal) -> None:
        """End the answer to one request with a refusal."""
        if (running := self._running.get(entry.number)) is not None:
            self._ended[entry.number] = refusal
            running.reschedule(0.0)

    async def ask(self, path: str, endpoint: Endpoint, seconds: float) -> bytes:
        """Return what the engine answers to a GET of the gateway's own, less than 1 MiB.

        Raises EngineLost or TimeoutError where it does not answer with 200 in that time.
        """
        return await self._own("GET", path, b"", endpoint, seconds)

    async def post(
        self, path: str, body: dict[str, Any], endpoint: Endpoint, seconds: float
    ) -> bytes:
        """Return what it answers to a POST of the gateway's own; as `ask` otherwise."""
        return await self._own("POST", path, json.dumps(body).encode(), endpoint, seconds)

    async def send(self, path: str, body: Sequence[Buffer], endpoint: Endpoint) -> bytes | None:
        """Return what it answers to a POST that takes as long as a client's.

        None where that is no answer with 200, or longer than 1 MiB. Raises EngineLost.
        """
        return await _answer("POST", path, body, endpoint)

    async def _own(
        self, method: str, path: str, body: bytes, endpoint: Endpoint, seconds: float
    ) -> bytes:
        async with asyncio.timeout(seconds):
            if (data := await _answer(method, path, [body], endpoint)) is not None:
                return data
        raise EngineLost(asked=True)

    async def props(self, keeper: Keeper) -> dict[str, Any]:
        """Return what the engine says of itself. Raises Refusal (502, 503) where it is away."""
        endpoint = await _endpoint(keeper, self._deadline())
        try:
            found = json.loads(await self.ask("/props", endpoint, PROPS_S))
        except (EngineLost, TimeoutError, ValueError) as error:
            raise Refusal(502, "The engine does not say what it is.", retry_after_s=1) from error
        return found if isinstance(found, dict) else {}

    async def run(
        self,
        request: web.BaseRequest,
        call: EngineCall,
        keeper: Keeper,
        reply: Reply,
        entry: Entry,
    ) -> None:
        """Ask the engine, and send its answer; ask again where it ends before it has begun.

        Returns when the engine is done: the reply has to be ended. Raises Refusal (502, 503) where
        there is no answer, also after it has begun.
        """
        try:
            async with asyncio.timeout(None) as running:
                self._running[entry.number] = running
                try:
                    await self._until_answered(request, call, keeper, reply, entry)
                finally:
                    self._running.pop(entry.number, None)
        except TimeoutError:
            raise (self._ended.get(entry.number) or stopping()) from None
        finally:
            self._ended.pop(entry.number, None)

    async def _until_answered(
        self,
        request: web.BaseRequest,
        call: EngineCall,
        keeper: Keeper,
        reply: Reply,
        entry: Entry,
    ) -> None:
        # What is compressed cannot be translated.
        accepts = None if call.translate else request.headers.get("Accept-Encoding")
        headers = {"Content-Type": "application/json", "Accept-Encoding": accepts or "identity"}
        tries, deadline = 0, self._deadline()
        while True:
            endpoint = await _endpoint(keeper, deadline)
            if self._stopping:
                raise stopping()
            try:
                async with self.place(call, endpoint, entry) as placed:
                    return await self._ask(
                        placed, endpoint, headers, reply, entry, suspect=tries > 0
                    )
            except EngineLost as lost:
                tries += lost.asked
                if reply.begun or tries >= TRIES:
                    raise Refusal(502, _LOST, retry_after_s=1) from lost
                if lost.asked:
                    deadline = self._deadline()
            await asyncio.sleep(self._timing.again_s)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timing.patience_s

    async def _ask(
        self,
        call: EngineCall,
        endpoint: Endpoint,
        headers: dict[str, str],
        reply: Reply,
        entry: Entry,
        *,
        suspect: bool,
    ) -> None:
        with closing(EngineLine(endpoint, self._spare)) as line:
            async with self._suspects if suspect else nullcontext():
                self.begins(entry)
                entry.begin()
                with self.traffic.waits():
                    answer = await line.ask(call.method, call.path, call.body, headers)
            if call.stream and answer.status == 200:
                await self._stream(answer, call, reply, entry)
                self._spare.open(endpoint)
                return
            body = b"".join([data async for data in self._pieces(answer, entry)])
        self._spare.open(endpoint)
        await _complete(answer, body, call, reply, entry)

    async def _stream(
        self, answer: EngineAnswer, call: EngineCall, reply: Reply, entry: Entry
    ) -> None:
        translator = call.translate() if call.translate else None
        kept = _kept(answer, call, entry)
        if translator:
            kept["Content-Type"] = translator.content_type
        await reply.begin(answer.status, kept)
        whole, repetition = WholeEvents(), Repetition() if call.guarded else None
        async for data in self._pieces(answer, entry):
            if repetition is not None and (loop := repetition.feed(data)):
                entry.trouble = loop.in_words()
                raise refusal_for(loop, entry)
            await reply.write(translator.feed(data) if translator else whole.feed(data))
        await reply.write(translator.close() if translator else whole.rest())

    async def _pieces(self, answer: EngineAnswer, entry: Entry) -> AsyncIterator[bytes]:
        while True:
            with self.traffic.waits():
                data = await answer.read()
            if not data:
                return
            self.traffic.heard += len(data)
            entry.passes(data)
            yield data


async def _answer(
    method: str, path: str, body: Sequence[Buffer], endpoint: Endpoint
) -> bytes | None:
    """Return an answer with 200 to what the gateway itself asks."""
    with closing(EngineLine(endpoint)) as line:
        answer = await line.ask(method, path, body, {"Content-Type": "application/json"})
        data = b""
        while answer.status == 200 and len(data) < _OWN_BYTES:
            if not (piece := await answer.read()):
                return data
            data += piece
    return None


async def _endpoint(keeper: Keeper, deadline: float) -> Endpoint:
    """Return where the engine answers. Raises Refusal (503) where it does not until `deadline`."""
    try:
        async with asyncio.timeout_at(deadline):
            return await keeper.endpoint()
    except TimeoutError:
        waits = keeper.waits_for
        what = f"The engine waits for {waits}" if waits else "The model is still loading."
        raise Refusal(503, what, retry_after_s=10) from None


class WholeEvents:
    """Cuts a stream of server-sent events between two events, unread.

    So an engine that dies in the middle of one leaves no half of it before the error.
    """

    def __init__(self) -> None:
        self._half = b""

    def feed(self, data: bytes) -> bytes:
        """Take a piece; return what of it and of earlier ones is whole."""
        if self._half:
            data = self._half + data
        if data.endswith(b"\n\n") or len(data) > _EVENT_BYTES:
            self._half = b""
            return data
        end = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
        self._half = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """Return what is left where the engine has ended in order."""
        return self._half


async def _complete(
    answer: EngineAnswer, body: bytes, call: EngineCall, reply: Reply, entry: Entry
) -> None:
    """Send an answer that has come in one piece: so an engine that dies leaves no half of it."""
    if answer.status >= 400:
        raise refusal_of(answer.status, body)
    kept = _kept(answer, call, entry)
    if call.translate and answer.status == 200:
        translator = call.translate()
        kept["Content-Type"] = translator.content_type
        body = translator.feed(body) + translator.close()
    await reply.whole(answer.status, kept, body)


def _kept(answer: EngineAnswer, call: EngineCall, entry: Entry) -> CIMultiDict[str]:
    """Return the headers of an answer, and those that the gateway adds."""
    kept = CIMultiDict(
        (name, value)
        for name, value in answer.headers.items()
        if name.lower() not in _HOP and not name.lower().startswith(_CORS)
    )
    kept.extend(call.headers)
    kept.extend(headers_of(entry))
    return kept
