"""A text of a turn in rows, laid out by and by: no step takes long, however much came at once."""

import time
from collections.abc import Callable

from runner.tui.rows import SLICE, Growing, Row, Rows

# Of the processor's time, a tick's share for one text; a key waits no longer than this and a slice.
STEP_S = 0.03


class Flow:
    """Shows a text that may grow, or become another one. `make` lays it out for a width."""

    def __init__(self, make: Callable[[int], Growing]) -> None:
        self._make = make
        self._width = 0
        self._source = ""
        self._taken = 0  # characters laid out
        self._growing: Growing | None = None
        self._live: Rows | None = None

    @property
    def behind(self) -> bool:
        """Whether more of the text is to be laid out."""
        return self._taken < len(self._source)

    def show(self, source: str) -> int:
        """Take the text as it is now; return how many rows of what is shown stay as they are."""
        if source == self._source:
            return len(self)
        if not source.startswith(self._source[: self._taken]):
            self._begin()
        self._source = source
        return len(self._growing.finished) if self._growing else 0

    def fit(self, width: int) -> bool:
        """Begin to lay it out for a width; return whether that is another one."""
        if width == self._width:
            return False
        self._width = width
        self._begin()
        return True

    def step(self, until: float | None = None) -> None:
        """Lay more of the text out, for about `STEP_S` of the processor's time.

        `until`: the moment of `time.thread_time` at which to stop, where several texts share it.
        """
        if self._growing is None or not self.behind:
            return
        until = time.thread_time() + STEP_S if until is None else until
        while self.behind:
            self._growing.grow(self._source[self._taken : self._taken + SLICE])
            self._taken = min(self._taken + SLICE, len(self._source))
            if time.thread_time() >= until:
                break
        self._live = None

    def _begin(self) -> None:
        self._growing = self._make(self._width) if self._width else None
        self._taken = 0
        self._live = None

    def __len__(self) -> int:
        """Return the number of rows so far."""
        return len(self._growing.finished) + len(self._rest()) if self._growing else 0

    def __getitem__(self, index: int) -> Row:
        """Return a row."""
        finished = self._growing.finished if self._growing else []
        return finished[index] if index < len(finished) else self._rest()[index - len(finished)]

    def _rest(self) -> Rows:
        if self._live is None:
            self._live = self._growing.live() if self._growing else []
        return self._live
