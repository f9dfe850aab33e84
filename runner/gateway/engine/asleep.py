"""Unloads an engine while nobody asks; the next request loads it again.

The gateway answers `/health` and `/v1/models` meanwhile. A request that needs the engine wakes it,
and waits as for any load.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager

from runner.base.beside import beside
from runner.gateway.activity import Activity
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.pulse import GAP_S
from runner.gateway.engine.shortage import Saves
from runner.gateway.timing import Timing


def unloading(
    keeper: Keeper,
    activity: Activity,
    prompts: Saves,
    timing: Timing,
    idle_s: float,
) -> AbstractAsyncContextManager[None]:
    """Within the block, unload the engine after so long without a request; 0: never."""
    watch = _watch(keeper, activity, prompts, timing, idle_s) if idle_s else None
    return beside(watch, "unload when idle")


async def _watch(
    keeper: Keeper,
    activity: Activity,
    prompts: Saves,
    timing: Timing,
    idle_s: float,
) -> None:
    sleep, looked = keeper.sleep, time.monotonic()
    while True:
        await asyncio.sleep(timing.nap_s)
        now = time.monotonic()
        # While the computer itself slept, or this process stood still, nobody could ask.
        if now - looked > timing.nap_s + GAP_S or keeper.state != "ready" or _asked(activity):
            sleep.stay()
        looked = now
        if sleep.idle_s < idle_s:
            continue
        await prompts.save_all(timing.save_end_s)
        if sleep.idle_s >= idle_s and keeper.state == "ready" and not _asked(activity):
            sleep.begin()


def _asked(activity: Activity) -> bool:
    """Return whether there is a request for the engine, also one that is still arriving."""
    return any(not entry.quiet for entry in activity.running.values())
