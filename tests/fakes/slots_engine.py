"""A fake engine, named as one: it answers what llama-server does, from what a test gives it.

`slots` is the answer to /slots, None for none at all (it hangs); `answers` are the pieces of the
answer to any other path; `pause` is waited for after the first of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from runner.base.loaded import Loaded
from runner.gateway.refusal import Refusal
from runner.net.endpoint import Endpoint


@dataclass
class SlotsEngine:
    """Stands in for the engine, and for the keeper that knows it."""

    slots: list[dict[str, Any]] | None = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    status: int = 200
    content_type: str = "text/event-stream"
    state: str = "ready"
    waited_s: float = 0.0
    loaded: Loaded | None = None
    restarts: int = 0
    starts: int = 1
    pid: int = 0
    log_path: Path = Path("missing.log")
    asked: int = 0
    pause: asyncio.Event | None = None
    base_url: str = ""
    status_of_gateway: Any = None

    @property
    def engine(self) -> "Running":
        return Running(self)

    @property
    def at(self) -> Endpoint:
        return Endpoint(self.base_url)

    async def endpoint(self) -> Endpoint:
        if self.state != "ready":
            raise Refusal(503, "The model is still loading.", retry_after_s=5)
        return self.at

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slots":
            self.asked += 1
            if self.slots is None:
                await asyncio.Event().wait()
            return web.json_response(self.slots)
        response = web.StreamResponse(status=self.status)
        response.content_type = self.content_type
        await response.prepare(request)
        for number, piece in enumerate(self.answers):
            if number == 1 and self.pause is not None:
                await self.pause.wait()
            await response.write(piece)
        await response.write_eof()
        return response


class Running:
    """The same as the keeper's `engine`."""

    def __init__(self, fake: SlotsEngine) -> None:
        self.endpoint, self.pid, self.log_path = fake.at, fake.pid, fake.log_path


@asynccontextmanager
async def listening_engine(**given: Any) -> AsyncIterator[SlotsEngine]:
    """Run one on a free port within the block."""
    engine = SlotsEngine(**given)
    runner = web.ServerRunner(web.Server(engine.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    engine.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield engine
    finally:
        await runner.cleanup()
