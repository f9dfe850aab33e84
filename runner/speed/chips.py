"""Chips: which one a machine computes with, and how it compares with measured ones. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runner.machine.facts import Machine


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip and its memory, a row of `chips.tsv`, which says what each figure means."""

    name: str
    pattern: str
    gbps: float
    efficiency: float
    source: str
    cores: int | None = None
    like: str = ""
    decode: float | None = None
    prefill: float | None = None

    @property
    def effective_gbps(self) -> float:
        """The part of the bandwidth that decoding gets."""
        return self.gbps * self.efficiency

    @property
    def measured(self) -> bool:
        """Whether this is the machine of the published table itself."""
        return self.decode == self.prefill == 1


def slowest(machine: Machine, chips: Sequence[Chip]) -> Chip | None:
    """Return the chip that computes here: of several the slowest; None where one is not known.

    Layers lie on one card or the other, so that one card works at a time.
    """
    seen = [(d.name, d.cores) for d in machine.devices] or [(machine.name, None)]
    found = [_named(name, cores, chips) for name, cores in seen]
    known = [chip for chip in found if chip]
    return min(known, key=lambda chip: chip.effective_gbps) if len(known) == len(found) else None


def scale(chip: Chip, chips: Sequence[Chip]) -> tuple[float, float | None, str]:
    """Return how much faster this chip decodes and prefills than the measured one, and why."""
    if chip.measured:
        return 1, 1, ""
    like = next(c for c in chips if c.like == chip.like and c.measured)
    decode, why_decode = chip.decode, f"decoding by {chip.decode}"
    if decode is None:
        decode = chip.gbps / like.gbps
        why_decode = f"memory bandwidth {chip.gbps:g}/{like.gbps:g}"
    prefill, why_prefill = chip.prefill, f" and prefill by {chip.prefill}"
    if prefill is None and chip.cores and like.cores:
        prefill = chip.cores / like.cores
        why_prefill = f" and GPU cores {chip.cores}/{like.cores}"
    why = why_decode + (why_prefill if prefill else "")
    return decode, prefill, f", scaled for {chip.name}: {why}"


def _named(name: str, cores: int | None, chips: Sequence[Chip]) -> Chip | None:
    """Return the row of a device; the least one where its cores are not known or not listed."""
    rows = [chip for chip in chips if re.search(chip.pattern, name)]
    if cores is None or all(chip.cores != cores for chip in rows):
        named = [chip for chip in rows if chip.name == rows[0].name]
        return min(named, key=lambda chip: (chip.gbps, chip.cores or 0), default=None)
    return next(chip for chip in rows if chip.cores == cores)
