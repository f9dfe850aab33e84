"""What the service manager is told while `steprun serve` runs as a service of its."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from runner.base.beside import beside
from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.base.units import duration, size
from runner.cli.render.common import TransientLine
from runner.cli.render.serving import ServeReport
from runner.gateway.settings import Settings
from runner.net.service_manager import ServiceManager

_PINGS: Final = 3  # within the time in which one must arrive: two may be late
_EVERY_S: Final = 10  # a load is reported so often


class ManagedReport(ServeReport):
    """Says to the service manager, too, what happens to the server.

    It is ready when it listens: requests that come while the model loads wait for it.
    """

    def __init__(self, settings: Settings, line: TransientLine, manager: ServiceManager) -> None:
        super().__init__(settings, line)
        self._manager = manager
        self._title = settings.title
        self._on_demand = settings.on_demand

    def listening(self, port: int) -> None:
        """Say that clients are answered."""
        super().listening(port)
        state = "is asleep: the first request loads it" if self._on_demand else "is loading"
        self._manager.send("READY=1", f"STATUS={self._title} {state}.")

    def loading(self, seconds: float, loaded: Loaded | None) -> None:
        """Say for how long the model has been loading, and how far it is."""
        super().loading(seconds, loaded)
        passed = duration(seconds // _EVERY_S * _EVERY_S)
        far = f" ({loaded.percent} %)" if loaded is not None else ""
        self._manager.status(f"{self._title} has been loading for {passed}{far}.")

    def ready(self, log: str) -> None:
        """Say that the model answers."""
        super().ready(log)
        self._manager.status(f"{self._title} answers.")

    def restarting(self, why: SteprunError, seconds: float) -> None:
        """Say why the engine is started again."""
        super().restarting(why, seconds)
        self._manager.status(f"{why.what} {why.why} The engine is started again.")

    def asleep(self, why: SteprunError | None) -> None:
        """Say that the next request loads the model."""
        super().asleep(why)
        self._manager.status(f"{self._title} is asleep: the next request loads it.")

    def lacking(self, missing: int) -> None:
        """Say what the engine waits for."""
        super().lacking(missing)
        self._manager.status(f"Waiting until {size(missing)} more of memory are free.")

    def draining(self, answers: int, seconds: float) -> None:
        """Say what a stop waits for."""
        super().draining(answers, seconds)
        self._manager.status(f"Stopping: {answers} answers are being finished.")


@asynccontextmanager
async def watched(manager: ServiceManager) -> AsyncIterator[None]:
    """Within the block, show the manager that this event loop turns; then say that it ends."""
    try:
        async with beside(_ping(manager) if manager.watchdog_s else None, "watchdog"):
            yield
    finally:
        manager.send("STOPPING=1")


async def _ping(manager: ServiceManager) -> None:
    while True:
        manager.send("WATCHDOG=1")
        await asyncio.sleep(manager.watchdog_s / _PINGS)
