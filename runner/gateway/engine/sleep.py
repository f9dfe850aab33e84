"""Whether an engine is wanted: the part of its sleep that its keeper knows."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from runner.base.errors import SteprunError
from runner.gateway.refusal import Refusal

_AGAIN_S: Final = 30  # for a client whose request could not wake the engine


class Sleep:
    """Whether an engine is wanted. `asleep`: not before somebody asks. `may`: it ever sleeps.

    `refused`: how often an engine could not be woken, and `refusal` why it was not the last time.
    """

    def __init__(self, *, asleep: bool = False, may: bool = False) -> None:
        self.may = may or asleep
        self.refused = 0
        self.refusal: Callable[[], Refusal] = lambda: Refusal(503, "The engine is asleep.")
        self._wanted = asyncio.Event()
        self._asked = time.monotonic()
        if not asleep:
            self._wanted.set()

    @property
    def due(self) -> bool:
        """Whether the engine has to be unloaded."""
        return not self._wanted.is_set()

    @property
    def idle_s(self) -> float:
        """For how long nobody has asked for the engine."""
        return time.monotonic() - self._asked

    def wake(self) -> None:
        """Note that somebody asks for the engine."""
        self.stay()
        self._wanted.set()

    def stay(self) -> None:
        """Count the idle time from now on."""
        self._asked = time.monotonic()

    def begin(self) -> None:
        """Have the engine unloaded."""
        self._wanted.clear()

    async def until_wanted(self) -> None:
        """Return when somebody asks for the engine."""
        await self._wanted.wait()

    def turn_away(self, error: SteprunError) -> None:
        """Sleep on, because the engine cannot be woken now: whoever waits for it is told why."""
        words = f"The model cannot be loaded now. {error.what} {error.why}".strip()
        self.refused += 1
        self.refusal = lambda: Refusal(503, words, retry_after_s=_AGAIN_S)
        self.begin()
