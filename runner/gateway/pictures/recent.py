"""Pictures that were converted lately: agents send the same ones with every turn."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from runner.gateway.aside import Buffer

RECENT_BYTES: Final = 64 << 20
_ENTRY_BYTES: Final = 512  # a key and what holds it, about


class Recent:
    """Keeps the latest of them. `limit` in bytes; `clock` in seconds."""

    def __init__(
        self, limit: int = RECENT_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[Buffer, float]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Buffer | None:
        """Return what is kept under a key, None where nothing is or its time is over."""
        if key not in self._kept:
            return None
        value, until = self._kept[key]
        if until < self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Buffer, life_s: float = float("inf")) -> None:
        """Keep a value for so long at most; what was used least lately makes room."""
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (value, self._clock() + life_s)
        self._bytes += len(value) + _ENTRY_BYTES
        while self._bytes > self._limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        value, _ = self._kept.pop(key)
        self._bytes -= len(value) + _ENTRY_BYTES
