"""A whole gateway on loopback, with a fake engine behind it and nothing to wait for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.gateway.engine.rungs import Rungs
from runner.gateway.run import StopSignal, run
from runner.gateway.settings import Settings
from runner.gateway.timing import Timing
from tests.fakes.kept_engine import FakeEngines

# Everything at once; pings only where a test asks for them.
FAST = Timing(
    quiet_s=60,
    again_s=0.01,
    flush_s=1,
    first_s=0.01,
    longest_s=0.01,
    poll_s=0.01,
    look_s=0.01,
    room_s=0.01,
    short_s=0.01,
    quiet_look_s=0.01,
    nap_s=0.01,
)
BODY = {"messages": [{"role": "user", "content": "Hi"}]}


@dataclass
class Told:
    """A report that remembers what it was told."""

    port: asyncio.Future[int]
    words: list[str] = field(default_factory=list)
    loaded: list[Loaded | None] = field(default_factory=list)

    def changed(self, news: str) -> None:
        self.words.append(news)

    def listening(self, port: int) -> None:
        self.port.set_result(port)

    def loading(self, seconds: float, loaded: Loaded | None) -> None:
        self.loaded.append(loaded)

    def ready(self, log: str) -> None:
        self.words.append("ready")

    def restarting(self, why: SteprunError, seconds: float) -> None:
        self.words.append(f"restarting: {why.what} {why.why}")

    def retiring(self) -> None:
        self.words.append("retiring")

    def lacking(self, missing: int) -> None:
        self.words.append(f"lacking {missing}")

    def asleep(self, why: SteprunError | None) -> None:
        self.words.append(f"asleep: {why.what}" if why else "asleep")

    def resumed(self, seconds: float) -> None:
        self.words.append(f"resumed {seconds:.0f}")

    def short(self, left: int | None) -> None:
        self.words.append("no longer short" if left is None else f"short {left}")

    def noticed(self, what: str) -> None:
        self.words.append(what)

    def draining(self, answers: int, seconds: float) -> None:
        self.words.append(f"draining {answers}")


@dataclass
class Running:
    """A gateway that runs in this loop."""

    url: str
    told: Told
    stop: StopSignal
    task: asyncio.Task[None]
    http: aiohttp.ClientSession

    def post(
        self, path: str = "/v1/chat/completions", **fields: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request."""
        body = {"input": "Hi"} if path.endswith("/responses") else BODY
        return self.http.post(self.url + path, json={**body, **fields})

    async def text(self, path: str = "/v1/chat/completions", **fields: Any) -> tuple[int, str]:
        """Send a request; return the status and the whole answer."""
        async with self.post(path, **fields) as reply:
            return reply.status, await reply.text()


Open = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def engines() -> FakeEngines:
    """Return the engines behind the gateway."""
    return FakeEngines()


@pytest.fixture
def gateway(engines: FakeEngines) -> Open:
    """Return what runs a gateway: `async with gateway(timing, parallel=1) as running`."""

    @contextlib.asynccontextmanager
    async def opened(
        timing: Timing = FAST, rungs: Rungs | None = None, **settings: Any
    ) -> AsyncIterator[Running]:
        told = Told(asyncio.get_running_loop().create_future())
        stop = StopSignal()
        task = asyncio.create_task(
            run(Settings(port=0, **settings), engines, told, stop, timing=timing, rungs=rungs)
        )
        async with aiohttp.ClientSession() as http:
            await asyncio.wait((task, told.port), return_when=asyncio.FIRST_COMPLETED)
            yield Running(f"http://127.0.0.1:{told.port.result()}", told, stop, task, http)
            stop.ask()
            stop.ask()
            await asyncio.gather(task, return_exceptions=True)

    return opened
