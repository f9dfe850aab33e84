"""Published measurements of speed, and what they say between their points. Pure.

A run is one quant and engine on one machine at growing lengths of prompt. Between two points a
value is interpolated within their bounds; beyond the last only a bound is returned, marked as one.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One measured point, a row of `published.tsv`, which says what each figure means.

    An empty text is not stated; a rate of None was not measured. `in_ram`: layers whose experts
    were in main memory. `left_out`: why no estimate rests on the row.
    """

    machine: str
    engine: str
    quant: str
    n_prompt: int
    n_gen: int
    source: str
    system: str = ""
    backend: str = ""
    inferred: bool = False
    weights_bytes: int = 0
    kv_type: str = ""
    ubatch: int | None = None
    in_ram: int = 0
    prefill_s: float = 0.0
    prefill_tps: float | None = None
    decode_s: float = 0.0
    decode_tps: float | None = None
    note: str = ""
    left_out: str = ""

    @property
    def n_kv(self) -> int:
        """The tokens in the cache at the end."""
        return self.n_prompt + self.n_gen

    @property
    def measured(self) -> str:
        """What was measured, for people."""
        parts = (("prefill", self.prefill_tps), ("decode", self.decode_tps))
        return ", ".join(f"{name} {tps:.4g} tokens/s" for name, tps in parts if tps)

    @property
    def conditions(self) -> str:
        """Quant, cache and experts, for people."""
        cache = f"{self.kv_type} cache" if self.kv_type else "cache type not stated"
        ram = f", experts of {self.in_ram} layers in RAM" if self.in_ram else ""
        return f"{self.quant}, {cache}{ram}"


_SYSTEMS = {"macos": "macOS", "linux": "Linux", "windows": "Windows"}
_BACKENDS = {"metal": "Metal", "cuda": "CUDA", "vulkan": "Vulkan", "rocm": "ROCm", "cpu": "CPU"}


def setting(system: str, backend: str, *, inferred: bool = False) -> str:
    """Return where something ran, for people: `ROCm under Linux`."""
    if not system:
        known = _BACKENDS.get(backend)
        return f"{known}, system not stated" if known else "system and backend not stated"
    name = f"{_BACKENDS.get(backend, backend)} under {_SYSTEMS.get(system, system)}"
    return f"probably {name} (the table does not say)" if inferred else name


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of one quant, cache type, engine and source on one machine, by length of prompt."""

    rows: tuple[PublishedRow, ...]

    @property
    def first(self) -> PublishedRow:
        """A row, for what all have in common."""
        return self.rows[0]

    @property
    def machine(self) -> str:
        """The machine's short name."""
        return self.first.machine

    @property
    def weights_bytes(self) -> int:
        """The quant's size."""
        return self.first.weights_bytes

    @property
    def quant(self) -> str:
        """The quant's name."""
        return self.first.quant

    @property
    def kv_type(self) -> str:
        """The type of the cache."""
        return self.first.kv_type

    @property
    def source(self) -> str:
        """Who measured it."""
        return self.first.source

    @property
    def setting(self) -> tuple[str, str]:
        """The system and the backend."""
        return self.first.system, self.first.backend

    @property
    def longest(self) -> int:
        """The longest prompt whose prefill was measured; 0 where none was."""
        return max((row.n_prompt for row in self.rows if row.prefill_tps), default=0)

    @property
    def deepest(self) -> int:
        """The greatest depth at which decoding was measured."""
        return max((row.n_prompt for row in self.rows if row.decode_tps), default=0)

    def prefill_s(self, tokens: int) -> tuple[float, bool] | None:
        """Return the seconds to prefill a prompt, and whether it takes longer than that.

        Between points as a power of the length, so that the time only grows, whatever the noise.
        Below the first and beyond the last at their rates: rates fall with length, so beyond the
        last that is too short a time. None where no prefill was measured.
        """
        points = [row for row in self.rows if row.n_prompt and row.prefill_tps]
        if not points:
            return None
        at = bisect_left([row.n_prompt for row in points], tokens)
        if at in {0, len(points)}:
            near = points[max(0, at - 1)]
            return tokens * near.prefill_s / near.n_prompt, at > 0
        below, above = points[at - 1], points[at]
        if tokens == above.n_prompt:
            return above.prefill_s, False
        power = math.log(above.prefill_s / below.prefill_s, above.n_prompt / below.n_prompt)
        return below.prefill_s * (tokens / below.n_prompt) ** power, False

    def decode_tps(self, depth: int) -> tuple[float, bool] | None:
        """Return tokens/s behind `depth` others, and whether it is slower than that.

        The time for a token grows in proportion to the cache that it reads, so between points it
        is the time that is interpolated. Beyond the last: the last rate, which is too fast. None
        where no decoding was measured, and before the first point where that is not a short one.
        """
        points = [(row.n_prompt, row.decode_tps) for row in self.rows if row.decode_tps]
        at = bisect_left([prompt for prompt, _ in points], depth)
        if at == len(points):
            return (points[-1][1], True) if points else None
        over, above = points[at]
        if depth == over:
            return above, False
        if at == 0:
            return None
        under, below = points[at - 1]
        share = (depth - under) / (over - under)
        return 1 / ((1 - share) / below + share / above), False


def runs(rows: Iterable[PublishedRow]) -> tuple[Run, ...]:
    """Return the rows that estimates may rest on as runs, in the order of their sources."""

    def key(row: PublishedRow) -> tuple[str, ...]:
        return (
            row.machine,
            row.system,
            row.backend,
            row.engine,
            row.quant,
            row.kv_type,
            row.source,
        )

    by_run: dict[tuple[str, ...], list[PublishedRow]] = {}
    for row in rows:
        if not row.left_out:
            by_run.setdefault(key(row), []).append(row)
    return tuple(Run(tuple(sorted(each, key=lambda r: r.n_prompt))) for each in by_run.values())


def nearest(
    of_machine: Iterable[Run], quant: str, weights_bytes: int, kv_type: str, where: tuple[str, str]
) -> Run | None:
    """Return the run to put beside a measurement: one with the same setting, quant and cache first.

    `where`: the system and backend. A quant that was not measured takes the one nearest in size.
    """

    def distance(run: Run) -> tuple[bool, float, bool]:
        size = abs(math.log(max(1, weights_bytes) / run.weights_bytes))
        far = 0.0 if run.quant.lower() == quant.lower() else size + 1
        return run.setting != where, far, run.kv_type != kv_type

    return min(of_machine, key=distance, default=None)
