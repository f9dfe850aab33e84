"""Signs beside the memory that is left: time lost for want of it. The guard loads this by its path.

On Linux the kernel counts how long nobody got on for want of memory (`/proc/pressure/memory`,
`full`); macOS says how it judges its memory. Both may say so while memory is swapped in and out,
although there seems to be enough. Such a figure is read in a thread of its own: a file or a driver
that hangs must not blind the watch.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

# As long as the kernel's own shortest average (`avg10`), which systemd-oomd goes by.
WINDOW_S: Final = 10.0
LOOK_S: Final = 1.0
# A figure of so long ago says nothing of now: two looks were missed.
STALE_S: Final = 3 * LOOK_S
# More than passed by the clock cannot have been lost; two looks at clocks of two kinds, though, are
# up to a scheduler's turn apart.
SLACK_S: Final = 0.1


class Stalls:
    """Makes a share of the last ten seconds of a count of seconds lost. Pure."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float]] = deque()

    def share(self, now: float, total: float) -> float:
        """Return the share, 0 to 1; 0 while there is no whole window of them.

        `now`: seconds of a monotonic clock. `total`: seconds lost, since whenever. A count that
        goes back, or grows faster than time, lies; after a long pause in the looks (the machine was
        asleep, or this process was stopped) it is of another time. All is counted anew then.
        """
        kept = self._kept
        if kept:
            passed, lost = now - kept[-1][0], total - kept[-1][1]
            if not 0 <= passed <= WINDOW_S or not 0 <= lost <= passed + SLACK_S:
                kept.clear()
        kept.append((now, total))
        while len(kept) > 2 and now - kept[1][0] >= WINDOW_S:
            kept.popleft()
        passed = now - kept[0][0]
        return min(1.0, (total - kept[0][1]) / passed) if passed >= WINDOW_S else 0.0


class Pressure:
    """The worst share of several counts, each by itself."""

    def __init__(self) -> None:
        self._stalls: list[Stalls] = []

    def share(self, now: float, totals: tuple[float, ...]) -> float:
        """Return it; `totals`: in seconds, always in the same order."""
        if len(totals) != len(self._stalls):
            self._stalls = [Stalls() for _ in totals]
        return max((s.share(now, t) for s, t in zip(self._stalls, totals, strict=True)), default=0)


class SideReader:
    """Reads in a thread of its own, again and again; what it has read is good for three seconds."""

    def __init__(
        self,
        read: Callable[[], tuple[float, ...]],
        every_s: float = LOOK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._every_s, self._clock = read, every_s, clock
        self._pressure = Pressure()
        self._found: tuple[float, float] = (-STALE_S, 0.0)
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(Exception):  # whatever a reading does, the next one may be well
                totals = self._read()
                now = self._clock()
                self._found = now, self._pressure.share(now, totals)
            self._over.wait(self._every_s)

    def share(self) -> float:
        """Return the share that was lost lately; 0 where nothing was read for long."""
        at, share = self._found
        return share if self._clock() - at < STALE_S else 0.0

    def close(self) -> None:
        """End after this reading; one that hangs is left alone."""
        self._over.set()
