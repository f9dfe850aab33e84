"""One gateway from start to end: listens first, then loads, and drains before it stops."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from runner.engine.process.supervisor import EngineProcess, read_key
from runner.gateway.admission import Door
from runner.gateway.keeper import Keeper
from runner.gateway.listener import listening
from runner.gateway.relay import Relay
from runner.gateway.service import Service
from runner.gateway.settings import Settings


class Report(Protocol):
    """Whoever tells the operator what happens."""

    def listening(self, port: int) -> None:
        """Say that the gateway answers, while the model is still loading."""

    def loading(self, seconds: float) -> None:
        """Say for how long the model has been loading."""

    def ready(self, log: str) -> None:
        """Say that the model answers. `log`: the path of the engine's log."""


async def run(
    settings: Settings, make: Callable[[], EngineProcess], report: Report, stop: asyncio.Event
) -> None:
    """Serve until `stop` is set. Raises SteprunError where the engine is given up."""
    keys = {"default": read_key(settings.key_file)} if settings.key_file else {}
    relay = Relay()
    try:
        async with Keeper(make) as keeper:
            service = Service(settings, Door(keys), keeper, relay)
            try:
                async with listening(service) as port:
                    report.listening(port)
                    await _until(stop, keeper, report)
            finally:
                await service.pictures.close()
    finally:
        await relay.close()


async def _until(stop: asyncio.Event, keeper: Keeper, report: Report) -> None:
    ended = asyncio.create_task(keeper.ended())
    stopped = asyncio.create_task(stop.wait())
    reported = False
    try:
        while not (ended.done() or stopped.done()):
            await asyncio.wait((ended, stopped), timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            if keeper.state == "loading":
                report.loading(keeper.waited_s)
            elif keeper.state == "ready" and not reported and keeper.engine is not None:
                reported = True
                report.ready(str(keeper.engine.log_path))
    finally:
        stopped.cancel()
        if ended.done():
            ended.result()
        ended.cancel()
        await asyncio.gather(ended, stopped, return_exceptions=True)
