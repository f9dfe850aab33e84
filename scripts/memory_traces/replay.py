"""Lets the watch beside an engine look at recorded memory, in a time that passes as fast as it can.

The decisions are the watch's own (`Judge`, `Pressure`), and so are the times at which it looks.
Between two recorded looks memory is taken to move evenly. A recording is repeated as long as a run
lasts, with some seconds between its end and its beginning.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from memory_traces.trace import Look, Trace
from runner.engine.process.memory_signs import LOOK_S, Pressure
from runner.engine.process.memory_watch import Judge
from runner.plan.launch import Floors

SEAM_S: Final = 10.0
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a recording is played.

    `floors`: of the engine beside it, which holds so much that at the recording's lowest moment
    `leaves` bytes are left. `scale`: memory moves so many times as far as was recorded, as on a
    machine with more cores and more in use. `jumps`: when the clock jumps, and how far (seconds).
    `balloon`: when somebody begins to take memory and never stops, and how fast (bytes a second).
    `low`: memory is low at times, and it is right to say so.
    """

    floors: Floors
    leaves: int
    scale: float = 1.0
    jumps: tuple[tuple[float, float], ...] = ()
    balloon: tuple[float, float] = (NEVER, 0.0)
    low: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `looks`: how often the watch looked, in `seconds`.

    `low`, `over`: how often it said so anew. `first`: when it was over, what was left then, and how
    long after less than the second floor was left: negative where it was before.
    """

    seconds: float
    looks: int
    low: int
    over: int
    first: tuple[float, int, float] | None


class _Film:
    """A recording without end."""

    def __init__(self, trace: Trace) -> None:
        self._looks = trace.looks
        self._times = [look.at for look in trace.looks]
        self._lasts = self._times[-1] + SEAM_S
        self.lowest = min(look.available for look in trace.looks)

    def at(self, time: float) -> Look:
        """Return what a look at that time shows."""
        round_, at = divmod(time, self._lasts)
        number = bisect_right(self._times, at) - 1
        before = self._looks[max(0, number)]
        after = self._looks[number + 1] if number + 1 < len(self._looks) else self._looks[0]
        until = after.at if after.at > before.at else self._lasts
        share = min(1.0, max(0.0, (at - before.at) / max(1e-9, until - before.at)))
        lost = round_ * self._looks[-1].stalled + before.stalled
        lost += share * max(0.0, after.stalled - before.stalled)
        available = before.available + share * (after.available - before.available)
        swap = before.swap + share * (after.swap - before.swap)
        return Look(time, int(available), int(swap), lost)


def play(trace: Trace, stage: Stage, seconds: float) -> Outcome:
    """Return what the watch makes of it. A balloon ends it where it is over."""
    film, floors = _Film(trace), stage.floors
    judge, pressure = Judge(floors.low, floors.least), Pressure()
    clock = _clock(stage)
    began, rate = stage.balloon
    said, low, over, first = "fine", 0, 0, None
    now = signs_at = 0.0
    looks, share, below = 0, 0.0, NEVER
    while now < seconds:
        seen = film.at(now)
        left = stage.leaves + int(stage.scale * (seen.available - film.lowest))
        left = max(0, left - int(max(0.0, now - began) * rate) if now > began else left)
        if now >= signs_at:
            share, signs_at = pressure.share(clock(now), (seen.stalled,)), now + LOOK_S
        if left < floors.least:
            below = min(below, now)
        state = judge.look(clock(now), left, seen.swap, share)
        looks += 1
        if state != said:
            low += state == "low"
            over += state == "over"
            said = state
        if state == "over" and first is None:
            first = (now, left, now - below if below < NEVER else 0.0)
            if rate:
                break
        now += judge.pause(left)
    return Outcome(now, looks, low, over, first)


def _clock(stage: Stage) -> Callable[[float], float]:
    def clock(now: float) -> float:
        return now + sum(far for at, far in stage.jumps if now >= at)

    return clock


def stages(reserves: tuple[int, ...], scales: tuple[float, ...]) -> Iterator[tuple[str, Stage]]:
    """Yield where each recording is played, with a name.

    `planned`: at the lowest moment all is left that the plan keeps. `edge`: another program has
    taken a quarter of that, and all that is left then is the first floor. `short`: half way between
    the floors: memory is low then. What falls as fast as a balloon there is ended as one would be,
    although in hindsight it need not have been.
    """
    for reserve in reserves:
        floors = Floors(reserve * 3 // 4, reserve // 2)  # as `plan.floors` has them
        for scale in scales:
            name = f"{reserve / (1 << 30):g} GiB, x{scale:g}"
            yield f"planned, {name}", Stage(floors, reserve, scale)
            yield f"edge, {name}", Stage(floors, floors.low, scale)
            half = (floors.low + floors.least) // 2
            yield f"short, {name}", Stage(floors, half, scale, low=True)
