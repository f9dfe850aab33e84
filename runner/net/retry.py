"""Retries: which failures may pass, how often to try again, and how long a server is given."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from runner.base.errors import SteprunError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is given, in seconds.

    `head_s`: to answer at all. `stall_s`: between two pieces. `slow_s`: a window in which at least
    `slow_bytes` must arrive. `tries`: in a row, without a new megabyte; between two of them
    `pause_s` passes, then twice that, up to `most_pause_s`. `wait_s`: the longest pause that a
    server may request. `clock`: what measures `head_s` and `slow_s`; a test may drive it.
    """

    head_s: float = 30.0
    stall_s: float = 30.0
    slow_s: float = 60.0
    slow_bytes: int = 64 << 10
    tries: int = 4
    pause_s: float = 1.0
    most_pause_s: float = 60.0
    wait_s: float = 60.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    def pause(self, tried: int) -> float:
        """Return how long to wait after so many failed tries."""
        return min(self.pause_s * 2.0 ** (tried - 1), self.most_pause_s)


class Transient(Exception):  # noqa: N818 - most of them pass
    """A failure that may pass.

    `pause_s`: how long the server asks to wait. `restart`: the bytes received so far cannot be
    continued. `final`: the error where it does not pass. `unresolved`: the server's name
    is unknown.
    """

    def __init__(
        self,
        why: str,
        pause_s: float = 0,
        *,
        restart: bool = False,
        final: type[SteprunError] = SteprunError,
        unresolved: bool = False,
    ) -> None:
        super().__init__(why)
        self.pause_s = pause_s
        self.restart = restart
        self.final = final
        self.unresolved = unresolved

    @property
    def why(self) -> str:
        """What happened, with the pause that the server asks for."""
        wait = f" It asks to wait for {self.pause_s:.0f} seconds." if self.pause_s else ""
        return f"{self}{wait}"


class Deadline:
    """A time limit for several requests together."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left, 0 once it has passed."""
        return max(0.0, self._ends - time.monotonic())

    def passed(self) -> Transient:
        """Return the failure of what took longer."""
        return Transient(f"It took more than {self._seconds:g} seconds in all.")


def retry(patience: Patience, once: Callable[[], _T], deadline: Deadline | None = None) -> _T:
    """Return what `once` does, tried again while it raises Transient, as long as allowed."""
    tried = 0
    while True:
        if deadline is not None and not deadline.left():
            raise deadline.passed()
        try:
            return once()
        except Transient as error:
            tried += 1
            if deadline is not None and not deadline.left():
                raise deadline.passed() from error
            pause = max(error.pause_s, patience.pause(tried))
            out_of_time = deadline is not None and pause >= deadline.left()
            if tried >= patience.tries or error.pause_s > patience.wait_s or out_of_time:
                raise
            time.sleep(pause)


@contextlib.contextmanager
def aborted_after(seconds: float, abort: Callable[[], None]) -> Iterator[None]:
    """Abort a request that takes longer than this, where no other thread watches it."""
    timer = threading.Timer(seconds, abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
