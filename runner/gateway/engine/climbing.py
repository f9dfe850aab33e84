"""Gives back what was given up for want of memory: when it is asked for, or after a quiet hour.

Answers are finished and prompts saved before the engine is started again at the higher rung.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from runner.base.beside import beside
from runner.base.units import size
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.lowering import Lowering
from runner.gateway.engine.shortage import Saves
from runner.gateway.engine.turns import Turns
from runner.gateway.refusal import Refusal
from runner.gateway.timing import USUAL, Timing
from runner.machine.probes.takers import in_words, takers

_HOLDER = "climb"
_LOOK_S = 0.05  # between two looks whether the last answer has ended


async def nothing_given_up() -> str:
    """Refuse to climb where nothing is ever given up. Raises Refusal (409)."""
    raise Refusal(409, "Nothing was given up: the engine runs as it was planned.")


class Busy(Protocol):
    """Knows how much is asked for. `asked`: how many requests there were that were no mere look."""

    asked: int

    def answering(self) -> int:
        """Return how many requests the engine is answering."""


class Climbing:
    """Climbs for one gateway."""

    def __init__(
        self,
        keeper: Keeper,
        lowering: Lowering,
        turns: Turns,
        busy: Busy,
        *,
        prompts: Saves,
        timing: Timing = USUAL,
    ) -> None:
        self._keeper = keeper
        self._lowering = lowering
        self._turns = turns
        self._busy = busy
        self._prompts = prompts
        self._timing = timing
        self._climb: asyncio.Task[None] | None = None

    async def ask(self) -> str:
        """Begin to climb as far as there is memory; return what happens now, in words.

        Raises Refusal (409) where there is nothing to give back, or no memory for it.
        """
        lowering = self._lowering
        if self._climb is not None and not self._climb.done():
            return "The engine is being started again already."
        if self._keeper.state == "asleep":
            if lowering.lowered is None:
                return await nothing_given_up()
            return "The engine is asleep: the next request loads it with what there is memory for."
        engine = self._keeper.engine
        if engine is None or self._keeper.state != "ready":
            waits = self._keeper.waits_for
            what = f"It waits for {waits}" if waits else "The engine is still being started."
            raise Refusal(409, what, retry_after_s=10)
        if lowering.lowered is None:
            return await nothing_given_up()
        spare = await asyncio.to_thread(engine.spare_memory)
        number = 0 if spare is None else lowering.higher(spare)
        if number is None:
            missing = lowering.missing(spare or 0)
            who = in_words(await asyncio.to_thread(takers))
            raise Refusal(
                409,
                f"{size(missing)} more of memory must be free before the engine can have back what "
                f"was given up. {who}".rstrip(),
                retry_after_s=60,
            )
        self._begin(number)
        return "The engine is started again with more as soon as the answers that run have ended."

    async def watch(self) -> None:
        """Climb after each quiet hour, until cancelled."""
        try:
            await self._watch()
        finally:
            if self._climb is not None:
                self._climb.cancel()
                await asyncio.gather(self._climb, return_exceptions=True)

    async def _watch(self) -> None:
        since, asked, least = time.monotonic(), self._busy.asked, 1 << 62
        while True:
            await asyncio.sleep(self._timing.quiet_look_s)
            engine, lowered = self._keeper.engine, self._lowering.lowered
            spare = None
            if lowered is not None and engine is not None and self._keeper.state == "ready":
                spare = await asyncio.to_thread(engine.spare_memory)
            quiet = self._busy.asked == asked and not self._busy.answering()
            if spare is None or not quiet or self._lowering.higher(spare) is None:
                since, asked, least = time.monotonic(), self._busy.asked, 1 << 62
                continue
            least = min(least, spare)  # there was so much all the time
            if time.monotonic() - since < self._timing.quiet_hour_s:
                continue
            if (number := self._lowering.higher(least)) is not None:
                self._begin(number)
            since, least = time.monotonic(), 1 << 62

    def _begin(self, number: int) -> None:
        if self._climb is None or self._climb.done():
            self._climb = asyncio.create_task(self._to(number), name="climb")

    async def _to(self, number: int) -> None:
        engine = self._keeper.engine
        try:
            while not await self._nobody_is_answered():
                # A long answer: others have their turn meanwhile.
                self._turns.hold(held=False, by=_HOLDER)
                await asyncio.sleep(self._timing.renew_s)
            await self._prompts.save_all(self._timing.save_end_s)
            # It may have ended meanwhile, and be at a lower rung now.
            if engine is not None and self._keeper.engine is engine:
                await self._lowering.go(number)
                if self._keeper.engine is engine:
                    await self._keeper.renew(None)
        finally:
            self._turns.hold(held=False, by=_HOLDER)

    async def _nobody_is_answered(self) -> bool:
        """Give no turns any more; return whether those that were given have ended in time."""
        self._turns.hold(held=True, by=_HOLDER)
        deadline = time.monotonic() + self._timing.renew_s
        while self._turns.taken and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_LOOK_S)
        return not self._turns.taken


def climbing(climber: Climbing) -> AbstractAsyncContextManager[None]:
    """Climb after quiet hours within the block."""
    return beside(climber.watch(), "climbing")
