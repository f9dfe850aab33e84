"""The kept prompts of the engine of this moment: others take their place when it is another one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from runner.gateway.activity import Entry
from runner.gateway.calls import EngineCall
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay, anywhere
from runner.gateway.prompts.keep import KeptPrompts
from runner.gateway.prompts.keeping import keeping
from runner.gateway.settings import Settings
from runner.gateway.timing import USUAL, Timing
from runner.gateway.watching.read_rate import ReadRate
from runner.net.endpoint import Endpoint

_LOOK_S: Final = 0.05  # between two looks whether the last request has left


class CurrentPrompts:
    """Keeps prompts for one engine after another. Close it at the end."""

    def __init__(self, settings: Settings, prompts: KeptPrompts | None) -> None:
        self._kept = settings.kept
        self._prompts = prompts
        self._inside: dict[KeptPrompts, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def reading(self) -> ReadRate | None:
        """Where it is noted how fast prompts are read; None where none are kept."""
        return self._prompts.reading if self._prompts is not None else None

    @asynccontextmanager
    async def placed(
        self, call: EngineCall, endpoint: Endpoint, entry: Entry
    ) -> AsyncIterator[EngineCall]:
        """Prepare a slot for a request, as `KeptPrompts.placed`."""
        prompts = self._prompts
        if prompts is None:
            async with anywhere(call, endpoint, entry) as placed:
                yield placed
            return
        self._inside[prompts] = self._inside.get(prompts, 0) + 1
        try:
            async with prompts.placed(call, endpoint, entry) as placed:
                yield placed
        finally:
            self._inside[prompts] -= 1

    async def change(
        self, settings: Settings, keeper: Keeper, relay: Relay, timing: Timing = USUAL
    ) -> bool:
        """Keep prompts for another engine; return whether it can read what is saved.

        What it cannot read stays on the disk, for an engine that can.
        """
        before, after = self._kept, settings.kept
        if before is None or after is None or before.depends == after.depends:
            return True
        left, self._prompts, self._kept = self._prompts, None, after
        if left is not None:
            task = asyncio.create_task(self._leave(left), name="close kept prompts")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._prompts = await keeping(settings, keeper, relay, timing)
        return False

    async def save_all(self, seconds: float) -> None:
        """Save what is worth it, in that time at most."""
        if self._prompts is not None:
            await self._prompts.save_all(seconds)

    async def close(self) -> None:
        """End what is under way."""
        if self._leaving:
            await asyncio.wait(set(self._leaving))
        if self._prompts is not None:
            await self._prompts.close()

    async def _leave(self, prompts: KeptPrompts) -> None:
        """Close what kept them for an engine that has ended, once no request is with it."""
        while self._inside.get(prompts):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_LOOK_S)
        self._inside.pop(prompts, None)
        await prompts.close()


async def current_prompts(
    settings: Settings, keeper: Keeper, relay: Relay, timing: Timing
) -> CurrentPrompts:
    """Return what keeps the prompts of a gateway."""
    return CurrentPrompts(settings, await keeping(settings, keeper, relay, timing))
