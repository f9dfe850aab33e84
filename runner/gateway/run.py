"""One gateway from start to end: listens first, then loads, and drains before it stops."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from runner.gateway.clients.listener import listening
from runner.gateway.engine.keeper import Engine, Keeper
from runner.gateway.engine.relay import Relay, stopping
from runner.gateway.engine.shortage import minding
from runner.gateway.guard import guarding, rules_of, tls_of
from runner.gateway.prompts.keeping import keeping
from runner.gateway.report import Report
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.gateway.tables import read_tables
from runner.gateway.timing import USUAL, Timing
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
) -> None:
    """Serve until asked to stop. Raises SteprunError where the engine is given up."""
    rules, tls = rules_of(settings), tls_of(settings)
    relay = Relay(timing)
    try:
        async with Keeper(make, report, relay.traffic, timing=timing) as keeper:
            await asyncio.to_thread(read_tables)
            prompts = await keeping(settings, keeper, relay, timing)
            service = Service(settings, rules, keeper, relay, timing, prompts=prompts)
            async with (
                Recorded(settings, service.observer) as recorded,
                guarding(service, report.changed),
                minding(keeper, service.turns, prompts, report, timing),
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
                    if prompts is not None:
                        await prompts.close()
                    await keeper.close(politely=not stop.at_once.is_set())
    finally:
        await relay.close()


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
