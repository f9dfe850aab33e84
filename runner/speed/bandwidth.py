"""How fast memory lets a model decode, where nothing was measured. Pure.

Each token reads the active weights, and the cache of all tokens before it.
"""

from dataclasses import dataclass
from typing import Final

from runner.catalog.model import Geometry
from runner.machine.facts import Backend, Machine
from runner.plan.memory.kv_cache import layer_bytes
from runner.plan.model_spec import Variant
from runner.speed.chips import Chip
from runner.speed.span import Span, between

# What main memory gives to the experts of a token: 52 to 60 % of the 100 GB/s of dual-channel
# DDR5-6267 by ik-llama-toolkit's runs beside an RTX PRO 6000 (11 to 24 layers in RAM), so 47 of the
# 90 GB/s of DDR5-5600. Nothing tells how many channels a machine has.
RAM_GBPS: Final = Span(47.0, 60.0)
# What one core streams of it. A guess: four cores of such a machine do not fill its memory's
# bandwidth, and eight nearly do (llama.cpp 34).
CORE_GBPS: Final = 10.0
# What an NVMe drive gives: PCIe 3 at its slowest, PCIe 4 at its fastest.
DISK_GBPS: Final = (3.0, 7.0)
# StepFun's figures: 11e9 of the parameters work on each token. All are 197e9, by the size of IQ4_XS
# and its 4.26 bits each. Of the routed experts (42 layers x 288 x 3 x 4096 x 1280) 8 of 288 work.
_STEP_ALL: Final = 197e9
_STEP_ACTIVE: Final = 11e9
_STEP_EXPERTS: Final = 42 * 288 * 3 * 4096 * 1280
# Below this fixed costs decide, not bandwidth: a small model gets no estimate from bandwidth.
LEAST_READ_BYTES: Final = 1e9


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Which shares of the routed experts lie in main memory beside a card, and on the disk."""

    in_ram: float = 0.0
    on_disk: float = 0.0


NOWHERE_ELSE: Final = Elsewhere()


@dataclass(frozen=True, slots=True)
class TokenTraffic:
    """The weights that one token reads, in bytes: what is always used, and its routed experts."""

    resident: float
    experts: float


def bytes_per_token(geometry: Geometry, variant: Variant) -> TokenTraffic | None:
    """Return the weights that one token reads; None for experts of unknown size."""
    layout = variant.layout
    if geometry.experts and layout and any(layout.experts):
        share = geometry.experts_used / geometry.experts
        return TokenTraffic(layout.output + sum(layout.resident), sum(layout.experts) * share)
    if not geometry.experts:
        return TokenTraffic(variant.weights_bytes, 0)
    if not is_step(geometry):
        return None
    experts = _STEP_EXPERTS * geometry.experts_used / 288
    each = variant.weights_bytes / _STEP_ALL
    return TokenTraffic((_STEP_ACTIVE - experts) * each, experts * each)


def share_on_disk(geometry: Geometry, variant: Variant, room_bytes: int) -> float:
    """Return the share of the routed experts that does not fit into `room_bytes` of weights."""
    traffic = bytes_per_token(geometry, variant)
    missing = variant.weights_bytes - room_bytes
    if traffic is None or not traffic.experts or missing <= 0:
        return 0.0
    return min(1.0, missing / (traffic.experts * geometry.experts / geometry.experts_used))


def is_step(geometry: Geometry) -> bool:
    """Whether the published tables are of this model: Step's own shape, not a small twin's."""
    shape = (geometry.arch, len(geometry.layers), geometry.embedding_length)
    return shape == ("step35", 45, 4096) and geometry.experts > 0


@dataclass(frozen=True, slots=True)
class Rates:
    """GB/s of where most is computed and of main memory, and where the figures come from."""

    here: Span
    ram: Span
    sources: tuple[str, ...]


def rates_of(machine: Machine, chip: Chip | None, away: Elsewhere) -> Rates | None:
    """Return how fast a machine reads; None for an unknown chip."""
    # A mapping that is larger than a shared memory is worked from by the processor alone.
    on_processor = machine.backend is Backend.CPU or (machine.unified and away.on_disk > 0)
    cores_gbps = CORE_GBPS * machine.cores
    ram, why = RAM_GBPS, "dual-channel DDR5, more channels are faster"
    if machine.cores > 1 and cores_gbps < ram.high:  # one core: not known
        ram, why = Span(min(cores_gbps, ram.low), cores_gbps), f"{machine.cores} cores"
    words = []
    if not on_processor:
        if chip is None:
            return None
        share = between(f"{100 * chip.efficiency:.0f} %", f"{100 * chip.efficiency_high:.0f} %")
        gets = f"of which decoding gets about {share}"
        words.append(f"{chip.gbps:g} GB/s of {chip.name}, {gets}")
    if on_processor or away.in_ram:
        words.append(f"{ram.text()} GB/s of main memory, assumed: {why}")
    if away.on_disk:
        least, most = DISK_GBPS
        words.append(f"{least:g} to {most:g} GB/s of the disk, assumed: NVMe")
    return Rates(chip.effective_gbps if chip and not on_processor else ram, ram, tuple(words))


def decode_tps(rates: Rates, traffic: TokenTraffic, away: Elsewhere, cache: int) -> Span:
    """Return tokens/s where each token reads so many bytes of the cache."""
    here = traffic.resident + traffic.experts * max(0.0, 1 - away.in_ram - away.on_disk)
    in_ram, on_disk = traffic.experts * away.in_ram, traffic.experts * away.on_disk
    least, most = (
        _tps((here + cache, at_here), (in_ram, at_ram), (on_disk, disk))
        for at_here, at_ram, disk in (
            (rates.here.low, rates.ram.low, DISK_GBPS[0]),
            (rates.here.high, rates.ram.high, DISK_GBPS[1]),
        )
    )
    return Span(least, most)


def _tps(*read: tuple[float, float]) -> float:
    """Return tokens/s where each reads so many bytes at so many GB/s, one after another."""
    return 1e9 / sum(size / gbps for size, gbps in read)


def cache_bytes(geometry: Geometry, kv_type: str, depth: int) -> int:
    """Return the bytes of the cache that one token reads behind `depth` others."""
    near = min(depth, geometry.sliding_window)
    return sum(
        layer_bytes(layer, kv_type) * (near if layer.sliding else depth)
        for layer in geometry.layers
    )
