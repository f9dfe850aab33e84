"""What happens to an engine for want of memory: for `/steprun/status` and the log of requests."""

from typing import Final

import msgspec

EVENTS: Final = 100
"""So many are remembered for whoever asks: at one in a few minutes, those of some hours."""


class MemoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `time`: as in an `Account`. `event`: "lowered", "climbed" or "waiting".

    `rung` of `of`: where the engine is after it, 0 as planned. `words`: what happened.
    """

    time: str
    event: str
    rung: int
    of: int
    words: str
