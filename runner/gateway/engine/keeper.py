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
from runner.gateway.engine.sleep import Sleep
from runner.gateway.refusal import Refusal
from runner.gateway.report import Report
from runner.gateway.timing import USUAL, Timing
from runner.net.endpoint import Endpoint

State = Literal["loading", "ready", "restarting", "asleep", "stopped"]


class Engine(Protocol):
    """What is kept: an `EngineProcess`."""

    endpoint: Endpoint
    log_path: Path
    gave_up: bool
    short_of_memory: bool
    pid: int

    @property
    def memory_left(self) -> int | None:
        """How many bytes of memory are left where that is little; None where there are enough."""

    def lacks_memory(self) -> int:
        """Return how many bytes must come free before it can be started again; 0 for none."""

    def spare_memory(self) -> int | None:
        """Return how many bytes could be taken before memory is nearly short; None if unknown."""

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


class Succession(Protocol):
    """Decides which engine comes next, and when. `waits_for`: what it waits for, in words."""

    waits_for: str

    def make(self) -> Engine:
        """Return the next engine."""

    async def woken(self) -> None:
        """Hear that somebody asks, after a sleep: the next engine is about to be made."""

    def yields(self, engine: Engine) -> bool:
        """Whether another engine than one that did not load has better prospects."""

    async def after(self, engine: Engine, error: SteprunError, served_s: float) -> None:
        """Return when the next one may be started. Raises SteprunError where none shall be.

        `error`: why this one has ended, after it has served so long.
        """


@dataclass(frozen=True, slots=True)
class Renewal:
    """That an engine is to be replaced; the fields are the arguments of `Keeper.renew`."""

    why: SteprunError | None
    politely: bool


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
    """An engine that is there when it is needed. Entering begins to load it, leaving stops it.

    `sleep`: whether it is to be loaded at all before somebody asks.
    """

    def __init__(
        self,
        engines: Succession,
        report: Report,
        traffic: Traffic,
        *,
        timing: Timing = USUAL,
        on_gpu: bool = False,
        sleep: Sleep | None = None,
    ) -> None:
        self._engines = engines
        self._report = report
        self._traffic = traffic
        self._timing = timing
        self._on_gpu = on_gpu
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._over: Callable[[], Refusal] = _not_running
        self._politely = True
        self._renewal: Renewal | None = None
        self.sleep = sleep or Sleep()
        self.state: State = "asleep" if self.sleep.due else "loading"
        self.waited_s = 0.0
        self.loaded: Loaded | None = None  # while it loads
        self.restarts = 0  # after a failure
        self.starts = 0  # engines that have answered, also after a sleep or a climb

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

    @property
    def waits_for(self) -> str:
        """What the next engine waits for, in words; empty where it waits for nothing."""
        return self._engines.waits_for

    async def ended(self) -> None:
        """Return when the engine is given up. Raises why."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def renew(self, why: SteprunError | None, *, politely: bool = True) -> None:
        """Start the next engine in place of this one; return when this one has ended.

        `why`: what is wrong with it; None: another one is wanted, at once. `politely`: as of
        `Engine.stop`.
        """
        engine = self._engine
        self._renewal = Renewal(why, politely) if engine is not None else None
        while engine is not None and self._engine is engine:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(self._timing.poll_s)

    def refuse(self, refusal: Callable[[], Refusal]) -> None:
        """Refuse everybody who waits for the engine, now and from now on."""
        self._over = refusal
        self._ready.set()

    async def endpoint(self) -> Endpoint:
        """Return where the engine answers, once it does. Raises Refusal (503) at the end."""
        refused = self.sleep.refused
        self.sleep.wake()
        while True:
            await self._ready.wait()
            if self.state == "ready" and self._engine is not None and not self.sleep.due:
                return self._engine.endpoint
            if self.sleep.refused != refused:
                raise self.sleep.refusal()
            if self._ready.is_set():  # else it was ready for a moment only
                raise self._over()

    async def _keep(self) -> None:
        pause, loads, served = self._timing.first_s, 0, False
        error: SteprunError | None
        try:
            while True:
                await self._until_wanted()
                engine, ready_at = self._engines.make(), 0.0
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
                    if self._engines.yields(engine):
                        loads = 0
                    elif self.sleep.may and isinstance(error, Refused):
                        self._turn_away(error)
                        error, loads = None, 0
                    elif loads >= self._timing.loads or (same and not served):
                        raise error from None
                served_s = time.monotonic() - ready_at if ready_at else 0.0
                if error is None or served_s >= self._timing.well_s:
                    pause = self._timing.first_s
                if error is None:
                    continue
                self.restarts += 1
                self._report.restarting(error, pause)
                await asyncio.sleep(pause)
                await self._engines.after(engine, error, served_s)
                pause = min(self._timing.longest_s, 2 * pause)
        finally:
            self.state = "stopped"
            self._ready.set()

    def _begins(self, engine: Engine) -> None:
        self.state, self._engine = "ready", engine
        self._renewal = self.loaded = None
        self.starts += 1
        self._ready.set()
        self._report.ready(str(engine.log_path))

    def _ends(self) -> None:
        self._engine = self.loaded = None
        if self._over is _not_running:
            self._ready.clear()
        self.state = "asleep" if self.sleep.due else "restarting"

    async def _until_wanted(self) -> None:
        """Return when there is to be an engine."""
        if self.sleep.due:
            self.state = "asleep"
            await self.sleep.until_wanted()
        if self.state == "asleep":
            self.state, self.waited_s = "loading", 0.0
            await self._engines.woken()

    def _turn_away(self, error: SteprunError) -> None:
        """Let everybody who waits know why there is no engine now, and sleep on."""
        self.sleep.turn_away(error)
        self._ready.set()
        if self._over is _not_running:
            self._ready.clear()
        self._report.asleep(error)

    async def _watch(self, engine: Engine) -> SteprunError | None:
        """Return why the engine has ended, or hangs; it is killed then.

        None: it is to sleep, or another one is wanted.
        """
        on_gpu = self._on_gpu
        pulse, looked, heard = Pulse(self._timing, on_gpu), time.monotonic(), -1
        while engine.alive():
            await asyncio.sleep(self._timing.poll_s)
            if self.sleep.due:
                self._report.asleep(None)
                return None
            if (renewal := self._renewal) is not None:
                if renewal.why is None:
                    self._report.retiring()
                await engine.stop(politely=renewal.politely)
                return renewal.why
            now = time.monotonic()
            if now - looked < self._timing.look_s:
                continue
            looked = now
            traffic = self._traffic
            if not traffic.waiting or traffic.heard != heard:
                heard, pulse = traffic.heard, Pulse(self._timing, on_gpu)
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
