"""One gateway from start to end: listens first, then loads, and drains before it stops."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from runner.gateway.clients.listener import listening
from runner.gateway.engine.asleep import unloading
from runner.gateway.engine.climbing import Climbing, climbing
from runner.gateway.engine.keeper import Engine, Keeper
from runner.gateway.engine.lowering import Lowering
from runner.gateway.engine.relay import Relay, stopping
from runner.gateway.engine.rungs import Rungs, ServedRung
from runner.gateway.engine.shortage import minding
from runner.gateway.engine.sleep import Sleep
from runner.gateway.engine.suspended import minding_suspends
from runner.gateway.guard import guarding, rules_of, tls_of
from runner.gateway.prompts.current import current_prompts
from runner.gateway.report import Report
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.gateway.tables import read_tables
from runner.gateway.timing import USUAL, Timing
from runner.gateway.trouble.health import slowed
from runner.gateway.trouble.watch import TroubleWatch, watching
from runner.gateway.watching.lowered import follow
from runner.gateway.watching.recorded import Recorded

LOOK_S = 0.05  # between two looks whether the last answer has ended


class StopSignal:
    """Whether the server was asked to stop: once, to finish what has begun; twice, at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def ask(self) -> None:
        """Ask once more."""
        (self.at_once if self.asked.is_set() else self.asked).set()


async def run(
    settings: Settings,
    make: Callable[[], Engine],
    report: Report,
    stop: StopSignal,
    timing: Timing = USUAL,
    *,
    rungs: Rungs | None = None,
) -> None:
    """Serve until asked to stop. Raises SteprunError where the engine is given up.

    `rungs`: how the model is served with less memory, the first as `settings` and `make` have it;
    None where it is served as planned or not at all.
    """
    rules, tls = rules_of(settings), tls_of(settings)
    relay = Relay(timing)
    lowering = Lowering(ServedRung(settings, make), rungs, report, timing)
    sleep = Sleep(asleep=settings.on_demand, may=settings.idle_unload_s > 0)
    try:
        async with Keeper(
            lowering, report, relay.traffic, timing=timing, on_gpu=settings.on_gpu, sleep=sleep
        ) as keeper:
            await asyncio.to_thread(read_tables)
            prompts = await current_prompts(settings, keeper, relay, timing)
            service = Service(settings, rules, keeper, relay, timing, prompts=prompts)
            climber = Climbing(
                keeper, lowering, service.turns, service.observer, prompts=prompts, timing=timing
            )
            service.climb = climber.ask
            recorded = Recorded(settings, service.observer)
            follow(lowering, service, recorded)
            watch = _trouble_watch(service, report)
            async with (
                recorded,
                guarding(service, report.changed),
                minding(keeper, service.turns, prompts, report, timing),
                climbing(climber),
                watching(watch),
                unloading(keeper, service.activity, prompts, timing, settings.idle_unload_s),
                minding_suspends(keeper, report, timing),
                listening(service, tls) as port,
            ):
                recorded.listening(port)
                report.listening(port)
                try:
                    await _until(stop.asked, keeper)
                    await _drain(service, report, stop, settings.drain_s)
                    await _keep(service, stop, timing.save_end_s)
                finally:
                    service.refuse(stopping)
                    await relay.close()  # before the engine ends: each answer then says why
                    await _until_idle(service, timing.flush_s)
                    await service.pictures.close()
                    await prompts.close()
                    await keeper.close(politely=not stop.at_once.is_set())
    finally:
        await relay.close()


def _trouble_watch(service: Service, report: Report) -> TroubleWatch:
    observer = service.observer
    observer.notices.tell = report.noticed
    watch = TroubleWatch(
        service.keeper,
        service.relay,
        turns=service.turns,
        activity=service.activity,
        notices=observer.notices,
        timing=service.timing,
        slowed=slowed,
        on_gpu=service.settings.on_gpu,
        prompts=service.prompts,
    )
    observer.hears, observer.share = watch.ended, lambda: watch.share
    return watch


async def _until(event: asyncio.Event, keeper: Keeper) -> None:
    """Return when asked to stop. Raises why the engine is given up."""
    ended = asyncio.create_task(keeper.ended())
    asked = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        if ended.done():
            ended.result()
        ended.cancel()
        await asyncio.gather(ended, asked, return_exceptions=True)


async def _drain(service: Service, report: Report, stop: StopSignal, seconds: float) -> None:
    """Let the answers that have begun go on, so long at most, and refuse all others."""
    service.refuse(stopping)
    if answers := service.activity.answering():
        report.draining(answers, seconds)
        await _unless(stop.at_once, _until_idle(service, seconds))


async def _keep(service: Service, stop: StopSignal, seconds: float) -> None:
    """Let the engine save the prompts that it has read, so long at most."""
    if service.prompts is not None and service.keeper.state == "ready":
        await _unless(stop.at_once, service.prompts.save_all(seconds))


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do something until it is done, or an event ends it."""
    tasks = (asyncio.create_task(work), asyncio.create_task(event.wait()))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _until_idle(service: Service, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while service.activity.answering() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(LOOK_S)
