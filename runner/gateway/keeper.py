"""Keeps one engine running: starts it, watches it, and says where it is."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Self

from runner.base.errors import SteprunError
from runner.engine.process.supervisor import EngineProcess
from runner.gateway.refusal import Refusal
from runner.net.endpoint import Endpoint

State = Literal["loading", "ready", "restarting", "stopped"]
POLL_S = 0.25


class Keeper(AbstractAsyncContextManager["Keeper"]):
    """An engine that is there when it is needed. Entering begins to load it, leaving stops it."""

    def __init__(self, make: Callable[[], EngineProcess]) -> None:
        self._make = make
        self._engine: EngineProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.state: State = "loading"
        self.waited_s = 0.0
        self.restarts = 0
        self.failure: SteprunError | None = None

    async def __aenter__(self) -> Self:
        """Begin to load."""
        self._task = asyncio.create_task(self._keep(), name="keeper")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the engine."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def engine(self) -> EngineProcess | None:
        """The engine of this moment; None between two."""
        return self._engine

    async def ended(self) -> None:
        """Return when the engine is given up. Raises why."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def endpoint(self, patience_s: float) -> Endpoint:
        """Return where the engine answers, once it does. Raises Refusal (503) after so long."""
        try:
            async with asyncio.timeout(patience_s):
                await self._ready.wait()
        except TimeoutError:
            raise Refusal(503, "The model is still loading.", retry_after_s=5) from None
        if self._engine is None:
            raise Refusal(503, "The engine is not running.", retry_after_s=5)
        return self._engine.endpoint

    async def _keep(self) -> None:
        try:
            async with self._make() as engine:
                self._engine = engine
                await engine.wait_ready(self._waits)
                self.state = "ready"
                self._ready.set()
                while engine.alive():  # noqa: ASYNC110 - a process ends without an event
                    await asyncio.sleep(POLL_S)
                raise engine.verdict()
        finally:
            self.state, self._engine = "stopped", None
            self._ready.clear()

    def _waits(self, seconds: float) -> None:
        self.waited_s = seconds
