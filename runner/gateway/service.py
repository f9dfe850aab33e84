"""Answers requests: from the connection to the engine and back. The order of the checks is here."""

import json
from typing import Any, Final

from aiohttp import web

from runner.gateway import admission, bodies, page, pictures, routes
from runner.gateway.activity import Activity, Entry
from runner.gateway.calls import EngineCall, call_of
from runner.gateway.keeper import Keeper
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
        self.activity = Activity()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a refusal has the shape of the API that was spoken."""
        api = routes.api_of(request.path)
        try:
            route = routes.find(request.method, request.path)
            client = admission.admit(self.door, route, request.headers)
            if route.work == "own":
                return self._own(route)
            if route.work == "page":
                return await page.answer(request, route, self.keeper, self.settings)
            with self.activity.request(client, api, request.path) as entry:
                try:
                    return await self._answer(request, route, entry)
                except Refusal as refusal:
                    entry.status = refusal.status
                    raise
        except Refusal as refusal:
            return _refused(api, refusal)

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
        return await self.relay.run(request, call, endpoint, entry)

    async def _call(self, request: web.BaseRequest, route: Route) -> EngineCall:
        """Return what to ask the engine for a request."""
        if request.method != "POST":
            return EngineCall(request.method, route.engine_path)
        asked = bodies.read(route, await _body(request))
        await pictures.settle(asked, self.settings)
        return call_of(asked)

    def _own(self, route: Route) -> web.Response:  # noqa: ARG002 - more to come
        ready = self.keeper.state == "ready"
        document: dict[str, Any] = {"status": "ok" if ready else self.keeper.state}
        return web.json_response(document, status=200 if ready else 503, dumps=json.dumps)


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
