"""An event loop in a thread of its own: the main thread reads the keyboard, which blocks."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

POLL_S: Final = 0.2  # on Windows, Ctrl+C reaches a thread that waits only when it wakes
END_S: Final = 5.0


class LoopThread:
    """Runs coroutines for as long as it is entered."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="chat", daemon=True)
        self._to_do: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def __enter__(self) -> Self:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel what still runs, and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        with contextlib.suppress(Exception):
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the loop's thread, soon."""
        self._loop.call_soon_threadsafe(function, *args)

    async def ask(self, function: Callable[[], T]) -> T:
        """Have the thread that waits call a function which blocks; return what that returns.

        Cancelling takes that back where it was not called yet.
        """
        answer: asyncio.Future[T] = self._loop.create_future()

        def settle(result: T) -> None:
            if not answer.done():
                answer.set_result(result)

        def do() -> None:
            if not answer.cancelled():
                self.call(settle, function())

        self._to_do.put(do)
        return await answer

    def wait(
        self,
        work: Coroutine[Any, Any, T],
        interrupted: Callable[[], object],
        idle: Callable[[], object] = lambda: None,
    ) -> T:
        """Return what comes of a coroutine; a Ctrl+C meanwhile calls `interrupted`, here.

        Meanwhile this thread does what it is asked to by `ask`, and looks at `idle` now and then.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                with contextlib.suppress(Empty):
                    while True:
                        self._to_do.get_nowait()()
                idle()
                return future.result(POLL_S)
            except TimeoutError:
                if future.done():
                    raise
            except KeyboardInterrupt:
                interrupted()
