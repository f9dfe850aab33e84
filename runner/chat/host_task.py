"""Keeps the engine for as long as the chat lasts, and lets go of it whatever happens.

One task of its own enters and leaves the host: a worker of the interface would be cancelled
while it still stops the engine.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from runner.base.errors import SteprunError
from runner.chat.events import Failed, Loading
from runner.chat.host import ChatHost

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """The host answers."""


News = Loading | Ready | Failed


class Keeper:
    """Opens the host, tells how it goes (`tell`), and closes it again."""

    def __init__(
        self,
        open_host: Callable[[], AbstractAsyncContextManager[ChatHost]],
        tell: Callable[[News], None],
    ) -> None:
        self._open_host = open_host
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()
        self._told = -1
        self.host: ChatHost | None = None
        self.loading = False

    def start(self) -> None:
        """Begin to open the host, unless one is there or on its way."""
        if self._task is None or self._task.done():
            self.loading = True
            self._told = -1
            self._enough = asyncio.Event()
            self._task = asyncio.create_task(self._keep(), name="host")

    async def restart(self) -> None:
        """Close what is left of the host, and open a fresh one."""
        await self.stop()
        self.start()

    async def stop(self) -> None:
        """Close the host and wait until it is closed; safe to call twice."""
        task = self._task
        if task is None or task.done():
            return
        # The task itself is never cancelled: it may be stopping the engine already.
        self._enough.set()
        # Not cancelled along with the caller: the engine must be stopped to the end.
        await asyncio.shield(asyncio.wait([task]))

    def alive(self) -> bool:
        """Whether a host is there and still runs."""
        return self.host is not None and self.host.alive()

    async def _keep(self) -> None:
        try:
            async with self._open_host() as host:
                if await self._comes_up(host):
                    self.host, self.loading = host, False
                    self._tell(Ready())
                    await self._enough.wait()
        except SteprunError as error:
            self._tell(Failed(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the chat goes on and says so
            _log.exception("The host failed")
            self._tell(
                Failed(
                    SteprunError(
                        "The engine could not be started.",
                        why=f"{type(error).__name__}: {error}",
                        next="Check the installation: steprun doctor",
                    )
                )
            )
        finally:
            self.host, self.loading = None, False

    async def _comes_up(self, host: ChatHost) -> bool:
        """Wait until the host answers. Returns whether it does: not where it is closed first."""
        ready = asyncio.create_task(host.wait_ready(self._waited))
        enough = asyncio.create_task(self._enough.wait())
        try:
            await asyncio.wait((ready, enough), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = ready.done()
            ready.cancel()
            enough.cancel()
            await asyncio.gather(ready, enough, return_exceptions=True)
        if ended:
            ready.result()  # raises why it will not answer
        return ended

    def _waited(self, seconds: float) -> None:
        if int(seconds) != self._told:  # told twenty times a second, shown once
            self._told = int(seconds)
            self._tell(Loading(seconds))
