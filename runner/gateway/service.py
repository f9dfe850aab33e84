"""Answers requests: from the connection to the engine and back. The order of the checks is here."""

from typing import Final

from aiohttp import web

from runner.gateway import admission, bodies, pictures, routes
from runner.gateway.activity import Entry, program_of
from runner.gateway.calls import EngineCall, call_of
from runner.gateway.keeper import Keeper
from runner.gateway.observer import Observer
from runner.gateway.refusal import Api, Refusal, body_of
from runner.gateway.relay import Relay
from runner.gateway.routes import Route
from runner.gateway.settings import Settings
from runner.gateway.turns import Turns

BODY_BYTES: Final = 64 << 20  # a request with twenty pictures has less
PATIENCE_S: Final = 600.0  # a request waits so long for the model to load


class Service:
    """One gateway. `handle` is what the listener calls for each request."""

    def __init__(
        self, settings: Settings, door: admission.Door, keeper: Keeper, relay: Relay
    ) -> None:
        self.settings = settings
        self.door = door
        self.keeper = keeper
        self.relay = relay
        self.turns = Turns(settings.parallel)
        self.observer = Observer(settings, keeper, relay)
        self.activity = self.observer.activity

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a refusal has the shape of the API that was spoken."""
        api = routes.api_of(request.path)
        with self.activity.request(program_of(request.headers), api, "") as entry:
            try:
                return await self._admitted(request, entry)
            except Refusal as refusal:
                entry.status = refusal.status
                return _refused(api, refusal)

    async def _admitted(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        route = routes.find(request.method, request.path)
        entry.path = route.path
        entry.client = admission.admit(self.door, route, request.headers) or entry.client
        if route.work == "own":
            entry.quiet = True
            return await self.observer.answer(route.path)
        entry.generates = route.work == "generate"
        return await self._answer(request, route, entry)

    async def _answer(
        self, request: web.BaseRequest, route: Route, entry: Entry
    ) -> web.StreamResponse:
        call = await self._call(request, route)
        if route.work != "generate":
            return await self._relay(request, call, entry)
        entry.wait()
        async with self.turns.turn(entry.client):
            return await self._relay(request, call, entry)

    async def _relay(
        self, request: web.BaseRequest, call: EngineCall, entry: Entry
    ) -> web.StreamResponse:
        endpoint = await self.keeper.endpoint(PATIENCE_S)
        entry.begin()
        entry.stream = call.stream
        return await self.relay.run(request, call, endpoint, entry)

    async def _call(self, request: web.BaseRequest, route: Route) -> EngineCall:
        """Return what to ask the engine for a request."""
        if request.method != "POST":
            return EngineCall(request.method, route.engine_path)
        asked = bodies.read(route, await _body(request))
        await pictures.settle(asked, self.settings)
        return call_of(asked)


async def _body(request: web.BaseRequest) -> bytes:
    """Return a request's body. Raises Refusal (413) where it is too long."""
    data = bytearray()
    async for piece in request.content.iter_any():
        data += piece
        if len(data) > BODY_BYTES:
            raise Refusal(413, f"The request is larger than {BODY_BYTES >> 20} MiB.")
    return bytes(data)


def _refused(api: Api, refusal: Refusal) -> web.Response:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if refusal.retry_after_s:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return web.Response(status=refusal.status, body=body_of(api, refusal), headers=headers)
