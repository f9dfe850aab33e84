"""Work that goes on beside a block of code, and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, object] | None, name: str) -> AsyncIterator[None]:
    """Do some work within the block, and cancel it at the end; None: there is none.

    Nobody hears what it raises: it has to tell that itself. `name`: the task's.
    """
    if work is None:
        yield
        return
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
