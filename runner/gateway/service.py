"""Answers requests: from the connection to the engine and back. The order of the checks is here."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from aiohttp import web

from runner.gateway import admission, bodies, ollama, routes
from runner.gateway.activity import CLIENT_GONE, Entry, chat_of, program_of
from runner.gateway.admission.attempts import Attempts
from runner.gateway.calls import Asked, EngineCall, call_of
from runner.gateway.clients.connection import ANSWER_HEADERS
from runner.gateway.clients.intake import OWN_BYTES, Intake, Room
from runner.gateway.clients.outbox import Held
from runner.gateway.clients.reply import ClientGone, Reply
from runner.gateway.clients.upgrade import refuse_websocket
from runner.gateway.engine.climbing import nothing_given_up
from runner.gateway.engine.faults import CONTEXT_FULL
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay, anywhere
from runner.gateway.engine.turns import Turns
from runner.gateway.own import models, page
from runner.gateway.pictures import Pictures
from runner.gateway.pictures.find import Place
from runner.gateway.pictures.settle import blind
from runner.gateway.prompts.ahead import beginning_of
from runner.gateway.prompts.current import CurrentPrompts
from runner.gateway.prompts.reading import prompt_of
from runner.gateway.refusal import Api, Refusal, body_of
from runner.gateway.routes import Route
from runner.gateway.settings import Settings
from runner.gateway.timing import USUAL, Timing
from runner.gateway.trouble.limits import limited
from runner.gateway.watching.observer import Observer
from runner.net.endpoint import Endpoint
from runner.plan.launch import HTTP_THREADS_BESIDE


class Service:
    """One gateway. `handle` is what the listener calls for each request."""

    def __init__(
        self,
        settings: Settings,
        rules: admission.Rules,
        keeper: Keeper,
        relay: Relay,
        timing: Timing = USUAL,
        *,
        prompts: CurrentPrompts | None = None,
    ) -> None:
        self.settings = settings
        self.rules = rules
        self.keeper = keeper
        self.relay = relay
        self.timing = timing
        self.prompts = prompts
        relay.place = self._placed
        self.intake = Intake()
        self.attempts = Attempts()
        self.pictures = Pictures(settings)
        self.held = Held()
        self.turns = Turns(settings.parallel)
        self.side_turns = Turns(HTTP_THREADS_BESIDE)
        self.observer = Observer(
            settings, keeper, relay, prompts.reading if prompts is not None else None
        )
        self.activity = self.observer.activity
        self.climb: Callable[[], Awaitable[str]] = nothing_given_up
        self._over: Callable[[], Refusal] | None = None
        self.started = time.time()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a refusal has the shape of the API that was spoken."""
        api = routes.api_of(request.path, request.headers)
        with self.activity.request(program_of(request.headers), api, "") as entry:
            try:
                entry.chat = chat_of(request.headers)
                return await self._entered(request, entry)
            except Refusal as refusal:
                entry.status = refusal.status
                return _refused(api, refusal)
            except (ClientGone, ConnectionError):  # the latter while its request is taken in
                entry.hung_up()
                return web.Response(status=CLIENT_GONE)  # nobody reads it

    def refuse(self, refusal: Callable[[], Refusal]) -> None:
        """Refuse whatever has not begun, now and from now on."""
        self._over = refusal
        self.observer.status.stopping = True
        for turns in (self.turns, self.side_turns):
            turns.close(refusal)
        self.keeper.refuse(refusal)

    async def change(self, settings: Settings) -> bool:
        """Serve something else from now on; the engine of before has ended, or is about to.

        Returns whether the next one can read what was saved.
        """
        self.settings = self.pictures.settings = settings
        self.observer.change(settings)
        if self.prompts is None:
            return True
        same = await self.prompts.change(settings, self.keeper, self.relay, self.timing)
        self.observer.rate = self.prompts.reading or self.observer.rate
        return same

    @asynccontextmanager
    async def _placed(
        self, call: EngineCall, endpoint: Endpoint, entry: Entry
    ) -> AsyncIterator[EngineCall]:
        """Have a request placed by those who keep the prompts of the engine of this moment."""
        # It may have waited while the engine was started again without its vision encoder.
        if call.pictures and not self.settings.sees:
            raise Refusal(400, blind(self.settings), param=call.pictures)
        place = self.prompts.placed if self.prompts is not None else anywhere
        async with place(call, endpoint, entry) as placed:
            yield placed

    async def _entered(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        request[ANSWER_HEADERS] = admission.enter(self.rules, request.raw_path, request.headers)
        if (headers := admission.preflight(request.method, request.headers)) is not None:
            entry.quiet = True
            return web.Response(status=204, headers=headers)
        refuse_websocket(request.headers)
        route = routes.find(request.method, request.path)
        entry.path = route.path
        name = self._admit(request, route)
        entry.client = name or entry.client
        if route.work == "own":
            entry.quiet = True
            return await self._own(request, route, entry.api)
        if ollama.greets(request.path, request.headers):
            entry.quiet = True
            return web.Response(text=ollama.GREETING)
        if route.work == "page":
            entry.quiet = True
            return await page.answer(request, route, self.keeper, self.settings)
        entry.generates = route.work == "generate"
        with self.intake.room() as room:
            return await self._answer(request, route, name or request.remote or "", entry, room)

    def _admit(self, request: web.BaseRequest, route: Route) -> str:
        """Return whose request it is."""
        try:
            return admission.admit(self.rules, route, request.method, request.headers)
        except admission.WrongKey as refusal:
            raise self.attempts.refusal(request.remote, refusal) from None

    async def _answer(
        self, request: web.BaseRequest, route: Route, client: str, entry: Entry, room: Room
    ) -> web.StreamResponse:
        if self._over is not None:
            raise self._over()
        call = await self._call(request, route, room, entry)
        turns = self.turns if route.work == "generate" else self.side_turns
        entry.wait()
        entry.stream = call.stream
        async with Reply(request, call, entry, self.held, self.timing) as reply:
            try:
                async with turns.turn(client):
                    await self.relay.run(request, call, self.keeper, reply, entry)
                return await reply.end()
            except Refusal as refusal:
                return await reply.refuse(self._explained(refusal))

    def _explained(self, refusal: Refusal) -> Refusal:
        """Add to the refusal of a long prompt why the context is shorter than it was."""
        if refusal.kind == CONTEXT_FULL and (why := self.settings.less_because):
            refusal.message = f"{refusal.message} {why}"
        return refusal

    async def _call(
        self, request: web.BaseRequest, route: Route, room: Room, entry: Entry
    ) -> EngineCall:
        """Return what to ask the engine for a request."""
        if request.method != "POST":
            return EngineCall(request.method, route.engine_path)
        data = await self.intake.read(request, room)
        settings = self.settings
        terms = bodies.Terms(settings.parallel, settings.sees, settings.keep_headers)

        def read() -> tuple[Asked, list[Place]]:
            asked = bodies.read(route, data, terms)
            places = self.pictures.find(asked)
            texts = [place.text for place in places]
            bodies.refuse_long_text(
                asked.aside.size(place.text for place in places if not place.is_address)
            )
            bodies.refuse_long_words(asked, texts, settings.longest_word)
            entry.prompt = prompt_of(asked) if entry.generates else None
            asked.ahead = beginning_of(asked.path, asked.document, asked.aside, entry.prompt)
            return asked, places

        asked, places = await self.intake.parse(data, read)
        await self.pictures.settle(asked, places)
        call = call_of(asked)
        call = replace(call, pictures=places[0].path) if places else call
        if not entry.generates:
            return call
        return limited(call, asked.document, request.headers, settings)

    async def _own(self, request: web.BaseRequest, route: Route, api: Api) -> web.Response:
        """Answer what needs no turn at the engine."""
        if route.body == "models":
            return web.json_response(models.listed(self.settings, api))
        if route.body == "model":
            name = route.rest(request.path)
            return web.json_response(models.one(self.settings, name, api))
        if route.body == "climb":
            return web.json_response({"message": await self.climb()}, status=202)
        if route.api is not Api.OLLAMA:
            return await self.observer.answer(route.path)
        with self.intake.room() as room:
            body = await self.intake.read(request, room, OWN_BYTES)
        answer = await ollama.answer(
            route.path,
            body,
            self.settings,
            self.started,
            ready=self.keeper.state == "ready",
            props=partial(self.relay.props, self.keeper),
        )
        return web.Response(body=answer, content_type="application/json")


def _refused(api: Api, refusal: Refusal) -> web.Response:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if refusal.retry_after_s:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return web.Response(status=refusal.status, body=body_of(api, refusal), headers=headers)
