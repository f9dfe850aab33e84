"""What went wrong while a gateway ran: told to its operator, and shown by `ps`."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

KEPT: Final = 20
# The same again within this time is not told again: an agent that repeats a request does so at
# once. `ps` and the request log have each.
QUIET_S: Final = 60.0


class Notices:
    """The latest notices. `tell`: hears of each, in words for people."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.tell: Callable[[str], None] = lambda _: None
        self._clock = clock
        self._said: deque[tuple[float, str]] = deque(maxlen=KEPT)
        self._told: dict[str, float] = {}

    def add(self, kind: str, what: str) -> None:
        """Note what happened: sentences, without anything of an answer or a prompt."""
        now = self._clock()
        self._said.append((now, what))
        if now - self._told.get(kind, -QUIET_S) >= QUIET_S:
            self._told[kind] = now
            with suppress(OSError):  # nobody reads it any more: `ps` still does
                self.tell(what)

    def rows(self) -> list[dict[str, str]]:
        """Return them as `ps` has them, the latest last."""
        return [
            {"time": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"), "what": what}
            for at, what in self._said
        ]
