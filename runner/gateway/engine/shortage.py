"""What a gateway does while memory is short: requests wait, and what was read is saved.

The guard of the engine watches the memory itself, and stops the engine where less is left than the
system needs (`runner.engine.process.memory_watch`). This is what comes before.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from runner.base.beside import beside
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.turns import Turns
from runner.gateway.report import Report
from runner.gateway.timing import Timing


class Saves(Protocol):
    """Keeps prompts that were read."""

    async def save_all(self, seconds: float) -> None:
        """Save what is worth it, in that time at most."""


def minding(
    keeper: Keeper, turns: Turns, prompts: Saves, report: Report, timing: Timing
) -> AbstractAsyncContextManager[None]:
    """Watch for short memory within the block."""
    return beside(_mind(keeper, turns, prompts, report, timing), "shortage")


async def _mind(
    keeper: Keeper, turns: Turns, prompts: Saves, report: Report, timing: Timing
) -> None:
    try:
        await _watch(keeper, turns, prompts, report, timing)
    finally:
        turns.hold(held=False)  # whatever ends it, nobody waits for ever


async def _watch(
    keeper: Keeper, turns: Turns, prompts: Saves, report: Report, timing: Timing
) -> None:
    since: float | None = None
    saving: asyncio.Task[None] | None = None
    while True:
        await asyncio.sleep(timing.short_s)
        engine = keeper.engine
        left = engine.memory_left if engine is not None else None
        if left is None:
            # Also between two engines: those who wait have to wait for the next one anyway.
            if since is not None:
                since = None
                turns.hold(held=False)
                report.short(None)
        elif since is None:
            since = time.monotonic()
            turns.hold(held=True)
            report.short(left)
            saving = asyncio.create_task(prompts.save_all(timing.save_end_s))
            saving.add_done_callback(_done)
        elif time.monotonic() - since > timing.hold_s:
            turns.hold(held=False)


def _done(saving: "asyncio.Task[None]") -> None:
    """Take in how a save has ended: one that fails costs a later request its reading, no more."""
    if not saving.cancelled():
        saving.exception()
