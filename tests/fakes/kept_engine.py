"""A fake engine, named as one, for the gateway: real HTTP on loopback, dies and hangs when told to.

`FakeEngines` opens a `FakeEngine` each time the keeper asks for one. All requests of all of them go
to `answer`, which a test replaces.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.engine.process.supervisor import VitalSigns
from runner.net.endpoint import Endpoint

Answer = Callable[[web.BaseRequest, dict[str, Any]], Awaitable[web.StreamResponse]]


async def fine(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
    """Answer at once."""
    if not asked.get("stream"):
        return web.json_response({"fine": True})
    stream = await begun(request)
    await say(stream, "fine")
    return stream


async def begun(request: web.BaseRequest) -> web.StreamResponse:
    """Send the head of a stream."""
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    return stream


async def say(stream: web.StreamResponse, text: str) -> None:
    """Send one event."""
    await stream.write(f'data: {{"text":"{text}"}}\n\n'.encode())


class FakeEngine:
    """One engine: comes up when told to, dies when told to."""

    def __init__(self, house: "FakeEngines") -> None:
        self._house = house
        self._runner = web.ServerRunner(
            web.Server(self._handle, handler_cancellation=True, access_log=None),
            handle_signals=False,
            shutdown_timeout=0.01,
        )
        self.endpoint = Endpoint("")
        self.log_path = Path("fake.log")
        self.gave_up = False
        self.memory_left: int | None = None
        self.short_of_memory = False
        self.pid = 0
        self.running = False
        self.still = False  # it answers nothing and does nothing, as after SIGSTOP
        self.stops: list[bool] = []  # how it was asked to stop: politely?
        self.work = 0.0
        self._end: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self.running:  # it was started before, as an `EngineProcess` may be
            return self
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.endpoint = Endpoint(f"http://127.0.0.1:{self._runner.addresses[0][1]}", api_key="k")
        self.running = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait_ready(self, on_wait: Callable[[float], None]) -> None:
        on_wait(0.0)
        if self._house.loads is not None:
            await self._house.loads.wait()
        if self._house.fails:
            self.gave_up, error = self._house.fails.pop(0)
            self.short_of_memory = "memory" in error.what
            raise error

    def loaded(self) -> Loaded | None:
        return self._house.far

    async def vital_signs(self) -> VitalSigns:
        if not self.still:
            self.work += 1
        return VitalSigns(not self.still, 0, self.work, self.work)

    def alive(self) -> bool:
        return self.running

    def lacks_memory(self) -> int:
        return self._house.lacks.pop(0) if self._house.lacks else 0

    def spare_memory(self) -> int | None:
        return self._house.spare

    def verdict(self) -> SteprunError:
        return SteprunError("The engine was killed.", why="By the test.")

    async def stop(self, *, politely: bool = True) -> None:
        self.stops.append(politely)
        await self.die()

    async def die(self) -> None:
        """End, and break all connections, as a kill does; safe to call twice."""
        if self._end is None:
            self._end = asyncio.create_task(self._break())
        await asyncio.shield(self._end)

    async def _break(self) -> None:
        self.running = False
        server = self._runner.server
        for connection in list(server.connections) if server else ():
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer k"
        asked = await request.json() if request.can_read_body else {}
        self._house.asked.append((request.path, asked))
        try:
            return await self._house.answer(request, asked)
        except asyncio.CancelledError:
            self._house.dropped += 1
            raise


class FakeEngines:
    """Makes engines, and remembers them all.

    `loads`: an engine is ready when this is set. `fails`: how the next loads fail instead, each
    with whether the engine gave up by itself. `lacks`: how many bytes are missing at
    each look before one is started again. `spare`: how many are left beside one. `dropped`:
    requests whose caller hung up.
    """

    def __init__(self) -> None:
        self.made: list[FakeEngine] = []
        self.answer: Answer = fine
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.loads: asyncio.Event | None = None
        self.fails: list[tuple[bool, SteprunError]] = []
        self.dropped = 0
        self.lacks: list[int] = []
        self.spare: int | None = None
        self.far: Loaded | None = None  # how far the weights are loaded

    def __call__(self) -> FakeEngine:
        self.made.append(FakeEngine(self))
        return self.made[-1]
