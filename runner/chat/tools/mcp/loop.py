"""A thread with an event loop, for work that must not take the interface's time."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines in a thread of its own, which begins with the first one.

    The thread does not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin a coroutine; return what becomes of it."""
        return asyncio.run_coroutine_threadsafe(work, self._running())

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine for one in another loop; cancelling that cancels it."""
        return await asyncio.wrap_future(self.start(work))

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the thread, if there is one."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                work = threading.Thread(target=self._serve, name=self._name, daemon=True)
                work.start()
            return self._loop

    def _serve(self) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101 - made just before
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def close(self) -> None:
        """End the thread; what still runs in it is abandoned."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None
