"""Looks at the engine after the computer has slept.

A graphics driver may lose what a card held, and with it the engine. Where it has ended, the keeper
sees that by itself; where it is stuck, nobody would notice before the next request. What it had
read is on the disk already: a slot is saved when it has been idle for a few seconds.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final

from runner.base.beside import beside
from runner.base.errors import SteprunError
from runner.gateway.engine.keeper import Keeper
from runner.gateway.report import Report
from runner.gateway.timing import Timing
from runner.machine.suspended import suspended_s

LEAST_S: Final = 2.0  # the two clocks are read one after the other; a sleep takes longer
_TRIES: Final = 4  # of 5 s each: as long as an engine may stand still otherwise


def minding_suspends(
    keeper: Keeper, report: Report, timing: Timing
) -> AbstractAsyncContextManager[None]:
    """Within the block, look at the engine each time the computer has slept."""
    return beside(_mind(keeper, report, timing), "suspends")


async def _mind(keeper: Keeper, report: Report, timing: Timing) -> None:
    before = suspended_s()
    while True:
        await asyncio.sleep(timing.nap_s)
        slept, before = (now := suspended_s()) - before, now
        if slept < LEAST_S:
            continue
        keeper.sleep.stay()
        if await _answers(keeper, timing):
            report.resumed(slept)


async def _answers(keeper: Keeper, timing: Timing) -> bool:
    """Return whether the engine that was there still is; one that does not answer is given up."""
    engine = keeper.engine
    if engine is None:  # it is loading, or asleep: whoever loads it sees how that goes
        return False
    for _ in range(_TRIES):
        signs = await engine.vital_signs()
        if signs.answers or engine is not keeper.engine:
            return signs.answers
        await asyncio.sleep(timing.again_s)
    error = SteprunError(
        "The engine has stopped responding.", why="It did not answer after the computer had slept."
    )
    await keeper.renew(error, politely=False)
    return False
