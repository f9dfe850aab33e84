"""Work on pictures, beside the interface. What does it is imported with the first picture."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from runner.tui.workshop import Workshop

T = TypeVar("T")


@cache
def the_workshop() -> "Workshop":
    """Return the one of this program, however many windows it opens after one another."""
    from runner.tui.workshop import Workshop  # noqa: PLC0415 - 20 ms before the first frame

    return Workshop()


async def in_workshop(job: Callable[["Workshop"], T]) -> T:
    """Do a job in a thread. Raises `SteprunError` as the workshop does."""
    return await asyncio.to_thread(lambda: job(the_workshop()))
