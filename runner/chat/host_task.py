"""Holds the engine open for as long as the chat lasts, and closes it whatever happens.

One task of its own enters and leaves the host: a worker of the interface would be cancelled
while it still stops the engine.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.chat.events import Failed, Loading
from runner.chat.host import ChatHost, ChatSetup, Find, follow
from runner.chat.host_news import HostNews, hearing

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostReady:
    """The host answers."""


@dataclass(frozen=True, slots=True)
class HostKnown:
    """It is known what the host is: `setup` takes the place of what the chat started from."""

    setup: ChatSetup


HostEvent = Loading | HostKnown | HostReady | HostNews | Failed


class HostTask:
    """Opens the host, reports each `HostEvent`, and closes the host again.

    `find`: asks first what the host is, each time that it is opened.
    """

    def __init__(
        self,
        open_host: Callable[[], AbstractAsyncContextManager[ChatHost]],
        report: Callable[[HostEvent], object],
        find: Find | None = None,
    ) -> None:
        self._open_host = open_host
        self._report = report
        self._find = find
        self._task: asyncio.Task[None] | None = None
        self._back: ChatSetup | None = None
        self._closing = asyncio.Event()
        self._reported_s = -1
        self.host: ChatHost | None = None
        self._opened: ChatHost | None = None  # whether it answers or not
        self.loading = True  # or about to be
        self.loading_since = time.monotonic()
        self.loaded_s = 0.0  # how long it took at last

    def start(self) -> None:
        """Begin to open the host, unless it is open or opening."""
        if self._task is None or self._task.done():
            self.loading = True
            self.loading_since = time.monotonic()
            self._reported_s = -1
            self._closing = asyncio.Event()
            self._task = asyncio.create_task(self._run(), name="host")

    async def restart(self) -> None:
        """Close what is left of the host, and open it again."""
        await self.stop()
        self.start()

    async def change(self, find: Find, back: ChatSetup) -> None:
        """Close the host, and open another one; `back`: what is opened next where that fails."""
        await self.stop()
        self._find, self._back = find, back
        self.start()

    def _go_back(self) -> None:
        """Have what was there before opened next, as what was to take its place cannot be."""
        if (back := self._back) is not None:
            self._open_host, self._find, self._back = back.open_host, back.find, None
            self._report(HostKnown(back))

    async def stop(self) -> None:
        """Close the host and wait until it is closed; safe to call twice."""
        task = self._task
        if task is None or task.done():
            return
        # The task itself is never cancelled: it may be stopping the engine already.
        self._closing.set()
        # Not cancelled along with the caller: the engine must be stopped to the end.
        await asyncio.shield(asyncio.wait([task]))

    def alive(self) -> bool:
        """Whether the host is open and answers."""
        return self.host is not None and not self.loading and self.host.alive()

    def loaded(self) -> Loaded | None:
        """Return how far the weights of a host that loads are loaded; None where unknown."""
        return self._opened.loaded() if self._opened is not None and self.loading else None

    async def _run(self) -> None:
        try:
            if self._find is not None:
                found = await self._until_closing(self._find(self._waited))
                if found is None:
                    return
                self._open_host, self._find = found.open_host, found.find
                self._report(HostKnown(found))
            async with self._open_host() as host, hearing(host, self._report):
                self._opened = host
                await self._until_closing(follow(host, self._waited, partial(self._ready, host)))
        except SteprunError as error:
            self._go_back()
            self._report(Failed(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the chat continues and shows it
            _log.exception("The host failed")
            failure = SteprunError(
                "The engine could not be started.",
                why=f"{type(error).__name__}: {error}.",
                next="Check the installation: steprun doctor",
            )
            self._go_back()
            self._report(Failed(failure))
        finally:
            self.host = self._opened = None
            self.loading = False

    async def _until_closing(self, work: Awaitable[T]) -> T | None:
        """Return what comes of it, None where the host is closed before. Raises what it raises."""
        task = asyncio.ensure_future(work)
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait((task, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = task.done()
            task.cancel()
            closing.cancel()
            await asyncio.gather(task, closing, return_exceptions=True)
        return task.result() if ended else None

    def _ready(self, host: ChatHost) -> None:
        self._back = None
        if self.loading:
            self.loaded_s = time.monotonic() - self.loading_since
        self.host, self.loading, self._reported_s = host, False, -1
        self._report(HostReady())

    def _waited(self, seconds: float) -> None:
        self.loading = True
        self.loading_since = time.monotonic() - seconds
        if int(seconds) != self._reported_s:  # reported twenty times a second, shown once
            self._reported_s = int(seconds)
            self._report(Loading(seconds))
