"""Keeps one engine running: starts it, watches it, starts it again, and says where it is."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Self

from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.loaded import Loaded
from runner.engine.process.supervisor import VitalSigns
from runner.gateway.engine.pulse import Pulse
from runner.gateway.refusal import Refusal
from runner.gateway.report import Report
from runner.gateway.timing import USUAL, Timing
from runner.net.endpoint import Endpoint

State = Literal["loading", "ready", "restarting", "stopped"]


class Engine(Protocol):
    """What is kept: an `EngineProcess`."""

    endpoint: Endpoint
    log_path: Path
    gave_up: bool
    pid: int

    @property
    def memory_left(self) -> int | None:
        """How many bytes of memory are left where that is little; None where there are enough."""

    def lacks_memory(self) -> int:
        """Return how many bytes must come free before it can be started again; 0 for none."""

    async def __aenter__(self) -> Self:
        """Start it."""

    async def __aexit__(self, *_: object) -> None:
        """Stop it."""

    async def wait_ready(self, on_wait: Callable[[float], None]) -> None:
        """Return when it answers; raise SteprunError where it never will."""

    def loaded(self) -> Loaded | None:
        """Return how far the weights are loaded; None where that is not known."""

    async def vital_signs(self) -> VitalSigns:
        """Return what can be seen of it from outside."""

    def alive(self) -> bool:
        """Whether it still runs."""

    def verdict(self) -> SteprunError:
        """Return why it has ended, and set `gave_up` where it did so by itself."""

    async def stop(self, *, politely: bool = True) -> None:
        """Stop it; safe to call twice."""


@dataclass(slots=True)
class Traffic:
    """What passes between gateway and engine.

    `waiting`: how many requests wait for the engine's next byte. `heard`: bytes of answers so far.
    """

    waiting: int = 0
    heard: int = 0

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Count one that waits within the block."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


def _not_running() -> Refusal:
    return Refusal(503, "The engine is not running.", retry_after_s=5)


def _explained(error: SteprunError | OSError) -> SteprunError:
    if isinstance(error, SteprunError):
        return error
    return SteprunError("The engine could not be started.", why=f"{error.strerror or error}.")


class Keeper(AbstractAsyncContextManager["Keeper"]):
    """An engine that is there when it is needed. Entering begins to load it, leaving stops it."""

    def __init__(
        self,
        make: Callable[[], Engine],
        report: Report,
        traffic: Traffic,
        *,
        timing: Timing = USUAL,
    ) -> None:
        self._make = make
        self._report = report
        self._traffic = traffic
        self._timing = timing
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._over: Callable[[], Refusal] = _not_running
        self._politely = True
        self.state: State = "loading"
        self.waited_s = 0.0
        self.loaded: Loaded | None = None  # while it loads
        self.restarts = 0

    async def __aenter__(self) -> Self:
        """Begin to load."""
        self._task = asyncio.create_task(self._keep(), name="keeper")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the engine."""
        await self.close()

    async def close(self, *, politely: bool = True) -> None:
        """Stop the engine; safe to call twice."""
        self._politely = politely
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def engine(self) -> Engine | None:
        """The engine of this moment; None between two."""
        return self._engine

    async def ended(self) -> None:
        """Return when the engine is given up. Raises why."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def refuse(self, refusal: Callable[[], Refusal]) -> None:
        """Refuse everybody who waits for the engine, now and from now on."""
        self._over = refusal
        self._ready.set()

    async def endpoint(self) -> Endpoint:
        """Return where the engine answers, once it does. Raises Refusal (503) at the end."""
        while True:
            await self._ready.wait()
            if self.state == "ready" and self._engine is not None:
                return self._engine.endpoint
            if self._ready.is_set():  # else it was ready for a moment only
                raise self._over()

    async def _keep(self) -> None:
        pause, loads, served = self._timing.first_s, 0, False
        try:
            while True:
                engine, ready_at = self._make(), 0.0
                try:
                    async with engine:
                        try:
                            await engine.wait_ready(partial(self._waits, engine))
                            ready_at, served, loads = time.monotonic(), True, 0
                            self._begins(engine)
                            error = await self._watch(engine)
                        finally:
                            self._ends()
                            if not self._politely:
                                await engine.stop(politely=False)
                except (SteprunError, OSError) as failed:
                    error, loads = _explained(failed), loads + 1
                    # Its first load: nothing about the next one would be different.
                    same = isinstance(error, BadFile | Refused) or engine.gave_up
                    if loads >= self._timing.loads or (same and not served):
                        raise error from None
                if ready_at and time.monotonic() - ready_at >= self._timing.well_s:
                    pause = self._timing.first_s
                self.restarts += 1
                self._report.restarting(error, pause)
                await asyncio.sleep(pause)
                while missing := await asyncio.to_thread(engine.lacks_memory):
                    self._report.lacking(missing)
                    await asyncio.sleep(self._timing.room_s)
                pause = min(self._timing.longest_s, 2 * pause)
        finally:
            self.state = "stopped"
            self._ready.set()

    def _begins(self, engine: Engine) -> None:
        self.state, self._engine, self.loaded = "ready", engine, None
        self._ready.set()
        self._report.ready(str(engine.log_path))

    def _ends(self) -> None:
        self._engine = self.loaded = None
        if self._over is _not_running:
            self._ready.clear()
        self.state = "restarting"

    async def _watch(self, engine: Engine) -> SteprunError:
        """Return why the engine has ended, or hangs; it is killed then."""
        pulse, looked, heard = Pulse(self._timing), time.monotonic(), -1
        while engine.alive():
            await asyncio.sleep(self._timing.poll_s)
            now = time.monotonic()
            if now - looked < self._timing.look_s:
                continue
            looked = now
            traffic = self._traffic
            if not traffic.waiting or traffic.heard != heard:
                heard, pulse = traffic.heard, Pulse(self._timing)
                continue  # nobody waits, or it has just spoken: no need to look
            signs = await engine.vital_signs()
            why = pulse.look(time.monotonic(), signs, waiting=traffic.waiting, heard=traffic.heard)
            if why and engine.alive():
                await engine.stop(politely=False)
                return SteprunError("The engine hangs.", why=why)
        return await asyncio.to_thread(engine.verdict)

    def _waits(self, engine: Engine, seconds: float) -> None:
        self.waited_s, self.loaded = seconds, engine.loaded()
        self._report.loading(seconds, self.loaded)
