"""What slows the machine down, for `ps` and for the log: read in a thread, and not too often."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from runner.machine.captures.capture import Live
from runner.machine.health import look

FRESH_S: Final = 10.0
WAIT_S: Final = 0.2  # `ps` waits so long for a reading; a later one is shown the next time
_log = logging.getLogger(__name__)


def slowed() -> list[str]:
    """Return what slows this machine down now, in sentences. Blocks for as long as tools take."""
    return [each.in_words() for each in look(Live())]


class HealthReading:
    """The latest reading. `read` blocks, in a thread: at most the time-outs of what it asks."""

    def __init__(self, read: Callable[[], list[str]] = slowed) -> None:
        self._read = read
        self._words: list[str] = []
        self._at = -FRESH_S
        self._task: asyncio.Task[None] | None = None

    async def words(self) -> list[str]:
        """Return what slows the machine down, as far as it is known in a moment."""
        if self._task is None or self._task.done():
            if time.monotonic() - self._at < FRESH_S:
                return self._words
            self._task = asyncio.create_task(self._look(), name="health")
        await asyncio.wait((self._task,), timeout=WAIT_S)
        return self._words

    async def close(self) -> None:
        """Give up a reading that is not there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        try:
            self._words = await asyncio.to_thread(self._read)
        except Exception as error:  # noqa: BLE001 - nothing is known then; `ps` says the rest
            self._words = []
            _log.warning("What slows the machine down cannot be read: %s", error)
        self._at = time.monotonic()
