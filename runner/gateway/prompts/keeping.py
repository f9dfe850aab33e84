"""Makes what keeps the prompts of one gateway."""

import asyncio

from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay
from runner.gateway.prompts.keep import KeptPrompts
from runner.gateway.settings import Settings
from runner.gateway.timing import Timing
from runner.kv.store import Store


async def keeping(
    settings: Settings, keeper: Keeper, relay: Relay, timing: Timing
) -> KeptPrompts | None:
    """Return what keeps prompts for a gateway; None where its engine is left to itself."""
    kept = settings.kept
    if kept is None:
        return None
    store = None
    if kept.on_disk and kept.restart:
        store = await asyncio.to_thread(Store, kept.folder, kept.depends, kept.bounds)
    batch = settings.served.ubatch or 512
    return KeptPrompts(kept, keeper, relay, store, timing, batch=batch)
