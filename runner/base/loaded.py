"""How far an engine has loaded the weights: how much, how fast, and how long the rest takes. Pure.

An engine says neither in its log nor over HTTP how far it is (llama-server b11549 tells only a
router). What its process has read is seen from outside, so it is told as a share of the weights.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from runner.base.units import GIB, duration, rate

# Below, nothing is told: such weights take seconds, and an engine's own libraries, which it maps as
# well, would count as a good part of them.
LEAST: Final = 8 * GIB
WINDOW_S: Final = 10.0  # that the rate is measured over: pieces of the disk's cache go by fast
RATED_S: Final = 3.0  # before that, the first look would decide the rate
MOST: Final = 99  # percent: what is left to do once all is read has no measure


@dataclass(frozen=True, slots=True)
class Loaded:
    """How much is loaded: `done` of `whole` bytes. `rate` in bytes a second, 0 where unknown."""

    done: int
    whole: int
    rate: float = 0.0

    @property
    def percent(self) -> int:
        """The share that is loaded. Never 100: the engine is not ready yet."""
        return min(MOST, 100 * self.done // self.whole)

    @property
    def left_s(self) -> float:
        """How long the rest takes at this rate, in seconds; 0 where nobody knows."""
        return max(0, self.whole - self.done) / self.rate if self.rate else 0.0

    def forms(self, seconds: float) -> tuple[str, ...]:
        """Return it in ever fewer words; `seconds`: for how long it has been loading.

        `37 % · 1.96 GiB/s · 31 s left`. Where nothing moves, the seconds show that one waits.
        """
        percent = f"{self.percent} %"
        if self.left_s < 1 or self.percent >= MOST:
            return (f"{percent} · {duration(seconds)} so far", percent)
        left = f"{duration(self.left_s)} left"
        return (f"{percent} · {rate(self.rate)} · {left}", f"{percent} · {left}", percent)


class LoadPace:
    """Follows one engine while it loads. `whole`: its weights, in bytes; 0 where unknown."""

    def __init__(self, whole: int) -> None:
        self._whole = whole
        self._seen: deque[tuple[float, int]] = deque()
        self.now: Loaded | None = None

    def note(self, at: float, done: int) -> Loaded | None:
        """Note how many bytes are loaded at a time, in seconds; return what is known by that.

        None where nothing is known, or what could be said would not be true: the first percent may
        be the engine's own code, or all that the system lets one see.
        """
        if self._whole < LEAST:
            return None
        done = max(done, self.now.done if self.now else 0)  # what it maps, it also lets go
        seen = self._seen
        seen.append((at, done))
        while len(seen) > 1 and seen[1][0] <= at - WINDOW_S:
            seen.popleft()
        (then, before) = seen[0]
        pace = (done - before) / (at - then) if at - then >= RATED_S else 0.0
        if 100 * done >= self._whole:
            self.now = Loaded(done, self._whole, pace)
        return self.now
