"""Whose turn it is at the engine: as many at once as it has slots, the others wait in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Hands out the engine's slots. `parallel`: how many there are."""

    def __init__(self, parallel: int) -> None:
        self._slots = asyncio.Semaphore(parallel)

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:  # noqa: ARG002 - fairness comes here
        """Hold one slot within the block. `client`: who asks. Raises Refusal (503) when full."""
        async with self._slots:
            yield
