"""Which rung of the ladder the engine is started at: one lower after each end for want of memory.

It climbs when `climbing` says so.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from runner.base.errors import SteprunError
from runner.base.units import size
from runner.gateway.engine.keeper import Engine
from runner.gateway.engine.rungs import Rungs, ServedRung
from runner.gateway.report import Report
from runner.gateway.timing import USUAL, Timing
from runner.machine.probes.takers import in_words, takers
from runner.plan.ladder import rung_for

_log = logging.getLogger(__name__)
_GIVEN_UP: Final = "Close other programs, then see what fits: steprun plan"


@dataclass(frozen=True, slots=True)
class Lowered:
    """That an engine runs at a lower rung.

    `rung` of `of`, 0 as planned. `gave_up`: what, in words, a line each. `since`: as `time.time`.
    `because`: what memory was left, and who holds it. `context` and `sees`: as of `Settings`.
    """

    rung: int
    of: int
    gave_up: tuple[str, ...]
    since: float
    because: str
    context: int
    sees: bool

    def document(self) -> dict[str, Any]:
        """Return it as the API has it."""
        return {
            "rung": self.rung,
            "of": self.of,
            "gave_up": list(self.gave_up),
            "context": self.context,
            "sees": self.sees,
            "since": stamp(self.since),
            "because": self.because,
        }


def stamp(when: float) -> str:
    """Return a time of `time.time` as the API writes it."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")


class Lowering:
    """Makes the engines of one gateway, each at the rung that there is memory for.

    `on_change` hears of what is served from now on, before the next engine is started, and returns
    what else is to be said of it; `on_event` hears of each step, climb and wait: its name, and what
    happened in words. `waits_for`: what the next engine waits for, in words, for anybody;
    `held_by`: who holds the memory, for this user's eyes.
    """

    def __init__(
        self, first: ServedRung, rungs: Rungs | None, report: Report, timing: Timing = USUAL
    ) -> None:
        self._all: Sequence[ServedRung] = (first,)
        self._ask = rungs
        self._report = report
        self._timing = timing
        self._falls = 0
        self._because = ""
        self._going = asyncio.Lock()
        self._made: Engine | None = None
        self.number = 0
        self.lowered: Lowered | None = None
        self.waits_for = self.held_by = ""
        self.on_change: Callable[[ServedRung], Awaitable[str]] = _nobody
        self.on_event: Callable[[str, str], None] = lambda *_: None

    @property
    def rung(self) -> ServedRung:
        """The rung of the present engine, or of the next one."""
        return self._all[self.number]

    @property
    def last(self) -> int:
        """The number of the lowest rung that is known."""
        return len(self._all) - 1

    def make(self) -> Engine:
        """Return the next engine."""
        self._made = self.rung.make()
        return self._made

    async def woken(self) -> None:
        """Climb as far as there is memory: the engine is loaded anyway, and held none of it."""
        if self.lowered is None or self._made is None:
            return
        spare = await asyncio.to_thread(self._made.spare_memory)
        number = rung_for(self._all, spare, -1) if spare is not None else None
        if number is not None and number < self.number:
            await self.go(number)

    def yields(self, engine: Engine) -> bool:
        """Whether there is a lower rung for an engine that did not load for want of memory."""
        return engine.short_of_memory and (self.number < self.last or self._ask is not None)

    async def after(self, engine: Engine, error: SteprunError, served_s: float) -> None:
        """Return when there is room for the next engine, one rung lower where memory was short.

        Raises SteprunError where the lowest rung has failed too often.
        """
        if not engine.short_of_memory:
            return
        await self._know()
        self._falls = 1 if served_s >= self._timing.steady_s else self._falls + 1
        if self.number < self.last:
            self._falls = 0
        elif self._falls >= self._timing.falls:
            raise self._given_up(error)
        self._because = error.why
        try:
            number = await self._room(engine)
        finally:  # before the step: who sees both hears of the wait alone
            self.waits_for = self.held_by = ""
        await self.go(number)

    async def go(self, number: int) -> None:
        """Have the next engine started at a rung."""
        # An engine may end while it is about to climb: whoever comes last decides.
        async with self._going:
            await self._go(number)

    async def _go(self, number: int) -> None:
        before, self.number = self.number, number
        if number == before:
            return
        names = tuple(rung.gives_up for rung in self._all[1 : number + 1])
        now = self.rung.settings
        self.lowered = Lowered(
            rung=number,
            of=self.last,
            gave_up=names,
            since=time.time(),
            because=self._because,
            context=now.context,
            sees=now.sees,
        )
        if not number:
            self.lowered = None
        more = await self.on_change(self.rung)
        if number > before:
            lost = "; ".join(names[before:])
            words = (
                f"The engine is started again with less ({number} of {self.last}), as memory was "
                f"short. Given up: {lost}."
            )
        else:
            words = "Memory is free again: the engine is started again "
            words += "as it was planned." if not number else f"with more ({number} of {self.last})."
        self._say("lowered" if number > before else "climbed", f"{words} {more}".rstrip())

    def higher(self, spare: int) -> int | None:
        """Return the highest rung that takes so many bytes more at most; None where none does."""
        room = self.rung.held_bytes + spare
        found = rung_for(self._all, room, -1)
        return found if found is not None and found < self.number else None

    def missing(self, spare: int) -> int:
        """Return how many bytes more must be free for the next higher rung."""
        return max(0, self._all[self.number - 1].held_bytes - self.rung.held_bytes - spare)

    def fields(self, *, names: bool = False) -> dict[str, Any]:
        """Return what the API says of it. `names`: also which other programs hold the memory."""
        found: dict[str, Any] = {}
        if self.lowered is not None:
            found["lowered"] = self.lowered.document()
            if not names:
                del found["lowered"]["because"]
        if self.waits_for:
            found["waits_for"] = f"{self.waits_for} {self.held_by if names else ''}".rstrip()
        return found

    async def _know(self) -> None:
        """Make the rungs, once."""
        if self._ask is None:
            return
        ask, self._ask = self._ask, None
        try:
            rungs = await asyncio.to_thread(ask)
        except (SteprunError, OSError, ValueError) as error:
            _log.warning("No lower rung is known: %s", error)
            return
        if len(rungs) > 1:
            self._all = (self.rung_as(rungs[0]), *rungs[1:])

    def rung_as(self, planned: ServedRung) -> ServedRung:
        """Return the first rung as it was started, with what is known of it now."""
        first = self._all[0]
        return ServedRung(first.settings, first.make, planned.gives_up, planned.held_bytes)

    async def _room(self, engine: Engine) -> int:
        """Return the rung that there is room for, once there is."""
        reported_at = float("-inf")
        while True:
            missing = await asyncio.to_thread(engine.lacks_memory)
            if (found := self._fits(missing)) is not None:
                return found
            lowest = self._all[-1].held_bytes
            needed = max(1, missing - (self.rung.held_bytes - lowest))
            self._report.lacking(needed)
            if time.monotonic() - reported_at >= self._timing.say_s:
                reported_at = time.monotonic()
                self.waits_for = f"{size(needed)} more of memory to come free."
                self.held_by = in_words(await asyncio.to_thread(takers, (os.getpid(),)))
                words = f"The engine waits for {self.waits_for} {self.held_by}".rstrip()
                self._say("waiting", words)
            await asyncio.sleep(self._timing.room_s)

    def _fits(self, missing: int) -> int | None:
        """Return the rung to start at where so many bytes are missing for the present one."""
        if self.number == self.last:
            return None if missing else self.number
        return rung_for(self._all, self.rung.held_bytes - missing, self.number)

    def _given_up(self, error: SteprunError) -> SteprunError:
        tried = " even with all that can be given up" if self.last else ""
        found = SteprunError(
            f"There is too little memory for the engine{tried}: it was stopped {self._falls} times "
            "in a row.",
            why=f"{error.what} {error.why}".strip(),
            next=_GIVEN_UP,
        )
        found.exit_code = error.exit_code
        return found

    def _say(self, event: str, words: str) -> None:
        self._report.changed(words)
        self.on_event(event, words)


async def _nobody(_: ServedRung) -> str:
    """Hear of nothing."""
    return ""
