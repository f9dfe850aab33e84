"""Published measurements of speed, and what they say between their points. Pure.

A run is one quant on one machine at growing lengths of prompt. Between two points a value
is interpolated within their bounds; beyond the last only a bound is returned, marked as one.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One measured point: prefill of `n_prompt` tokens, then `n_gen` tokens decoded after them.

    `machine`: its short name. `weights_bytes`: of the quant. `source`: who measured it.
    `prefill_tps` is 0 where there was no prompt.
    """

    machine: str
    quant: str
    weights_bytes: int
    kv_type: str
    n_prompt: int
    n_gen: int
    prefill_s: float
    prefill_tps: float
    decode_s: float
    decode_tps: float
    source: str

    @property
    def n_kv(self) -> int:
        """The tokens in the cache at the end."""
        return self.n_prompt + self.n_gen


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of one quant, cache type and source on one machine, by length of prompt."""

    rows: tuple[PublishedRow, ...]

    @property
    def machine(self) -> str:
        """The machine's short name."""
        return self.rows[0].machine

    @property
    def weights_bytes(self) -> int:
        """The quant's size."""
        return self.rows[0].weights_bytes

    @property
    def quant(self) -> str:
        """The quant's name."""
        return self.rows[0].quant

    @property
    def kv_type(self) -> str:
        """The type of the cache."""
        return self.rows[0].kv_type

    @property
    def source(self) -> str:
        """Who measured it."""
        return self.rows[0].source

    def prefill_s(self, tokens: int) -> tuple[float, bool]:
        """Return the seconds to prefill a prompt, and whether it takes longer than that.

        Between points as a power of the length, so that the time only grows, whatever the noise.
        Below the first and beyond the last at their rates: rates fall with length, so beyond the
        last that is too short a time.
        """
        points = [row for row in self.rows if row.n_prompt]
        at = bisect_left([row.n_prompt for row in points], tokens)
        if at in {0, len(points)}:
            near = points[max(0, at - 1)]
            return tokens * near.prefill_s / near.n_prompt, at > 0
        below, above = points[at - 1], points[at]
        if tokens == above.n_prompt:
            return above.prefill_s, False
        power = math.log(above.prefill_s / below.prefill_s, above.n_prompt / below.n_prompt)
        return below.prefill_s * (tokens / below.n_prompt) ** power, False

    def decode_tps(self, depth: int) -> tuple[float, bool]:
        """Return tokens a second behind `depth` others, and whether it is slower than that.

        The time for a token grows in proportion to the cache that it reads, so between points it
        is the time that is interpolated. Beyond the last: the last rate, which is too fast.
        """
        at = bisect_left([row.n_prompt for row in self.rows], depth)
        if at == len(self.rows):
            return self.rows[-1].decode_tps, True
        above = self.rows[at]
        if at == 0 or depth == above.n_prompt:
            return above.decode_tps, False
        below = self.rows[at - 1]
        share = (depth - below.n_prompt) / (above.n_prompt - below.n_prompt)
        return 1 / ((1 - share) / below.decode_tps + share / above.decode_tps), False


def runs(rows: Iterable[PublishedRow]) -> tuple[Run, ...]:
    """Return the rows as runs, in the order in which their sources come."""
    by_run = groupby(rows, lambda row: (row.machine, row.quant, row.kv_type, row.source))
    return tuple(Run(tuple(sorted(found, key=lambda row: row.n_prompt))) for _, found in by_run)


def nearest(of_machine: Sequence[Run], quant: str, weights_bytes: int, kv_type: str) -> Run | None:
    """Return the run that is nearest: first the makers' own, then the quant, then the cache type.

    A quant that was not measured takes the one nearest in size.
    """

    def distance(run: Run) -> tuple[bool, float, bool]:
        row = run.rows[0]
        size = abs(math.log(max(1, weights_bytes) / row.weights_bytes))
        far = 0.0 if row.quant.lower() == quant.lower() else size + 1
        return row.source != of_machine[0].source, far, row.kv_type != kv_type

    return min(of_machine, key=distance, default=None)
