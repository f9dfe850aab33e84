"""Answers requests: from the connection to the engine and back. The order of the checks is here."""

import json
from typing import Any, Final

from aiohttp import web

from runner.gateway import admission, bodies, pictures, routes
from runner.gateway.activity import Activity, Entry
from runner.gateway.attempts import Attempts
from runner.gateway.calls import EngineCall, call_of
from runner.gateway.connection import ANSWER_HEADERS
from runner.gateway.intake import Intake, Room
from runner.gateway.keeper import Keeper
from runner.gateway.refusal import Api, Refusal, body_of
from runner.gateway.relay import Relay
from runner.gateway.routes import Route
from runner.gateway.settings import Settings
from runner.gateway.turns import Turns

PATIENCE_S: Final = 600.0  # a request waits so long for the model to load


class Service:
    """One gateway. `handle` is what the listener calls for each request."""

    def __init__(
        self, settings: Settings, rules: admission.Rules, keeper: Keeper, relay: Relay
    ) -> None:
        self.settings = settings
        self.rules = rules
        self.keeper = keeper
        self.relay = relay
        self.intake = Intake()
        self.attempts = Attempts()
        self.turns = Turns(settings.parallel)
        self.activity = Activity()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a refusal has the shape of the API that was spoken."""
        api = routes.api_of(request.path)
        try:
            request[ANSWER_HEADERS] = admission.enter(self.rules, request.raw_path, request.headers)
            if (headers := admission.preflight(request.method, request.headers)) is not None:
                return web.Response(status=204, headers=headers)
            route, client = self._admit(request)
            if route.work == "own":
                return self._own(route)
            with self.activity.request(client, api, request.path) as entry, self.intake.room() as r:
                try:
                    return await self._answer(request, route, entry, r)
                except Refusal as refusal:
                    entry.status = refusal.status
                    raise
        except Refusal as refusal:
            return _refused(api, refusal)

    def _admit(self, request: web.BaseRequest) -> tuple[Route, str]:
        """Return where a request leads, and whose it is."""
        route = routes.find(request.method, request.path)
        try:
            return route, admission.admit(self.rules, route, request.method, request.headers)
        except admission.WrongKey as refusal:
            raise self.attempts.refusal(request.remote, refusal) from None

    async def _answer(
        self, request: web.BaseRequest, route: Route, entry: Entry, room: Room
    ) -> web.StreamResponse:
        call = await self._call(request, route, room)
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

    async def _call(self, request: web.BaseRequest, route: Route, room: Room) -> EngineCall:
        """Return what to ask the engine for a request."""
        if request.method != "POST":
            return EngineCall(request.method, route.engine_path)
        data = await self.intake.read(request, room)
        asked = await self.intake.parse(data, lambda: bodies.read(route, data))
        await pictures.settle(asked, self.settings)
        return call_of(asked)

    def _own(self, route: Route) -> web.Response:  # noqa: ARG002 - more to come
        ready = self.keeper.state == "ready"
        document: dict[str, Any] = {"status": "ok" if ready else self.keeper.state}
        return web.json_response(document, status=200 if ready else 503, dumps=json.dumps)


def _refused(api: Api, refusal: Refusal) -> web.Response:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if refusal.retry_after_s:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return web.Response(status=refusal.status, body=body_of(api, refusal), headers=headers)
