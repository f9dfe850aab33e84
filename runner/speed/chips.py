"""Chips: which one a machine computes with, and how it compares with measured ones. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.machine.facts import Machine
from runner.speed.span import Span


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip and its memory, a row of `chips.tsv`, which says what each figure means.

    `gbps_most`, `cores_most`: of the largest of this name, where the count of cores is not known.
    """

    name: str
    pattern: str
    gbps: float
    efficiency: float
    efficiency_high: float
    source: str
    cores: int | None = None
    like: str = ""
    decode: float | None = None
    prefill: float | None = None
    prefill_high: float | None = None
    per_core: float = 1.0
    gbps_most: float | None = None
    cores_most: int | None = None

    @property
    def effective_gbps(self) -> Span:
        """The part of the bandwidth that decoding gets."""
        return Span(self.gbps * self.efficiency, self.gbps * self.efficiency_high)

    @property
    def measured(self) -> bool:
        """Whether this is the machine of the published table itself."""
        return self.decode == self.prefill == 1


@dataclass(frozen=True, slots=True)
class Scale:
    """How fast a chip is as a multiple of a measured one. `prefill` None: unknown; `why`: words."""

    decode: Span
    prefill: Span | None
    why: str = ""


def slowest(machine: Machine, chips: Sequence[Chip]) -> Chip | None:
    """Return the chip that computes here: of several the slowest; None where one is not known.

    Layers lie on one card or the other, so that one card works at a time.
    """
    seen = [(d.name, d.cores) for d in machine.devices] or [(machine.name, None)]
    found = [_named(name, cores, chips) for name, cores in seen]
    known = [chip for chip in found if chip]
    if len(known) != len(found):
        return None
    return min(known, key=lambda chip: chip.effective_gbps.low)


def scale(chip: Chip, chips: Sequence[Chip]) -> Scale:
    """Return how much faster this chip decodes and prefills than the measured one, and why.

    What was measured with other models bounds it, and so do the ratios of memory bandwidth (which
    decoding cannot pass) and of the GPU cores.
    """
    if chip.measured:
        return Scale(Span(1, 1), Span(1, 1))
    like = next(c for c in chips if c.like == chip.like and c.measured)
    memory = chip.gbps / like.gbps
    cores = chip.cores / like.cores if chip.cores and like.cores else None
    words = [f"memory bandwidth {chip.gbps:g}/{like.gbps:g} GB/s"]
    words += [f"GPU cores {chip.cores}/{like.cores}"] if cores else []
    words += [f"or {chip.cores_most}, which is not known here"] if chip.cores_most else []
    words += [f"decoding by {chip.decode:g} in others' measurements"] if chip.decode else []
    known = [ratio for ratio in (memory, cores, chip.decode) if ratio]
    memory = (chip.gbps_most or chip.gbps) / like.gbps
    decode = Span(min(known), memory if chip.prefill is None else chip.decode or memory)
    prefill = None
    if chip.prefill:
        prefill = Span(chip.prefill, chip.prefill_high or chip.prefill)
        words.append(f"prefill by {prefill.text()}")
    elif cores:
        most = (chip.cores_most or chip.cores or 0) / (like.cores or 1)
        prefill = Span(min(known), max(memory, most) * chip.per_core)
    if chip.per_core > 1:
        words.append(
            f"tensor units, which may make prefill up to {chip.per_core:g} times as fast if the "
            "engine uses them"
        )
    return Scale(decode, prefill, f"scaled from {like.name} to {chip.name} ({', '.join(words)})")


def _named(name: str, cores: int | None, chips: Sequence[Chip]) -> Chip | None:
    """Return the row of a device; the least one where its cores are not known or not listed."""
    rows = [chip for chip in chips if re.search(chip.pattern, name)]
    if cores is None or all(chip.cores != cores for chip in rows):
        named = [chip for chip in rows if chip.name == rows[0].name]
        named.sort(key=lambda chip: (chip.gbps, chip.cores or 0))
        if len(named) < 2:
            return named[0] if named else None
        return replace(named[0], gbps_most=named[-1].gbps, cores_most=named[-1].cores)
    return next(chip for chip in rows if chip.cores == cores)
