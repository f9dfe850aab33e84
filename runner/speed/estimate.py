"""The expected speed of a plan: from published measurements, else from memory bandwidth. Pure.

Decoding is bound by memory: each token reads the active weights, and the cache of all tokens before
it. Prefill is bound by arithmetic, which no simple rule predicts: without a measurement of the same
or a related machine it stays unknown.

All figures are without draft heads, which others report to add 16 to 52 % to decoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runner.base.units import duration
from runner.catalog.model import Geometry
from runner.machine.facts import Backend, Machine
from runner.plan.memory.kv_cache import Config, layer_bytes
from runner.plan.model_spec import Variant
from runner.speed.chips import Chip, scale, slowest
from runner.speed.measured import PublishedRow, Run, nearest, runs

# What dual-channel DDR5 gives in practice: about two thirds of the 90 GB/s of DDR5-5600. An
# assumption: nothing tells how many channels a machine has.
RAM_GBPS: Final = 60.0
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
_LEAST_READ_BYTES: Final = 1e9
# The lengths of prompt that an estimate lists, beside the whole context.
PROMPTS: Final = (8_192, 32_768, 65_536)
_SLOW_PROMPT: Final = PROMPTS[-1]
_SLOW_S: Final = 300
# Another quant or cache is named only where it is much faster: the runs differ by more than that.
_FASTER: Final = 2
_HEAVIER: Final = 1.05  # from here on the source says that a quant's size was allowed for


@dataclass(frozen=True, slots=True)
class Tables:
    """What is known from elsewhere: measurements and chips (`runner.speed.tables`)."""

    rows: tuple[PublishedRow, ...]
    chips: tuple[Chip, ...]


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


@dataclass(frozen=True, slots=True)
class PrefillTime:
    """The time to prefill a prompt. `more`: it takes longer, as no measurement goes so far."""

    tokens: int
    prefill_s: float
    more: bool = False


@dataclass(frozen=True, slots=True)
class Speed:
    """What to expect. `prefill` is None where nothing was measured.

    `decode_tps_full`: with the planned context full; `decode_full_less`: slower than that, as no
    measurement goes so far. `decode_tps_fast`: at an empty context with a fast disk, only where
    weights stay on the disk; the other two are then for a slow one. `source`: a phrase for people.
    """

    decode_tps_empty: float
    decode_tps_full: float
    prefill: tuple[PrefillTime, ...] | None
    source: str
    warning: str | None = None
    decode_full_less: bool = False
    decode_tps_fast: float | None = None


def estimate(
    machine: Machine,
    geometry: Geometry,
    variant: Variant,
    config: Config,
    tables: Tables,
    *,
    elsewhere: Elsewhere = NOWHERE_ELSE,
) -> Speed | None:
    """Return what to expect of a plan; None where nothing is known.

    `elsewhere`: experts that are not where the rest computes. A measured table says nothing then.
    """
    chip = slowest(machine, tables.chips)
    run = published(machine, geometry, variant, config, tables, elsewhere=elsewhere)
    if chip and run:
        of_machine = [other for other in runs(tables.rows) if other.machine == run.machine]
        return _from_table(run, of_machine, scale(chip, tables.chips), variant, config)
    traffic = bytes_per_token(geometry, variant)
    if traffic is None or traffic.resident + traffic.experts < _LEAST_READ_BYTES:
        return None
    rates = _rates(machine, chip, elsewhere)
    return _from_bandwidth(rates, geometry, config, traffic, elsewhere) if rates else None


def published(
    machine: Machine,
    geometry: Geometry,
    variant: Variant,
    config: Config,
    tables: Tables,
    *,
    elsewhere: Elsewhere = NOWHERE_ELSE,
) -> Run | None:
    """Return the published run that is nearest to a plan; None where none is comparable."""
    chip = slowest(machine, tables.chips)
    whole = elsewhere == NOWHERE_ELSE
    if chip is None or not whole or machine.backend is Backend.CPU or not _is_step(geometry):
        return None
    of_machine = [run for run in runs(tables.rows) if run.machine == chip.like]
    return nearest(of_machine, variant.name, variant.weights_bytes, config.kv_type)


def slow(speed: Speed, context: int) -> str | None:
    """Return a warning where a plan is legal but slow; None where it is not."""
    if speed.decode_tps_fast is not None:
        return (
            f"About {_rate(speed.decode_tps_empty)} to {_rate(speed.decode_tps_fast)} tok/s: "
            "weights that do not fit are read from the disk again for each token."
        )
    within = [r for r in speed.prefill or () if r.tokens <= min(context, _SLOW_PROMPT)]
    if not within or within[-1].prefill_s <= _SLOW_S:
        return None
    first, last = within[0], within[-1]
    short = f"; {_tokens(first.tokens)} takes {_time(first)}" if first is not last else ""
    return (
        f"Prefill of {_tokens(last.tokens)} tokens takes {_time(last)} on this machine"
        f"{short}, by {speed.source}."
    )


def bytes_per_token(geometry: Geometry, variant: Variant) -> TokenTraffic | None:
    """Return the weights that one token reads; None for experts of unknown size."""
    layout = variant.layout
    if geometry.experts and layout and any(layout.experts):
        share = geometry.experts_used / geometry.experts
        return TokenTraffic(layout.output + sum(layout.resident), sum(layout.experts) * share)
    if not geometry.experts:
        return TokenTraffic(variant.weights_bytes, 0)
    if not _is_step(geometry):
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


def to_json(speed: Speed) -> dict[str, Any]:
    """Return the estimate for a document; unknown is null."""
    return {
        "decode_tps_empty": round(speed.decode_tps_empty, 2),
        "decode_tps_full": round(speed.decode_tps_full, 2),
        "decode_full_less": speed.decode_full_less,
        "decode_tps_fast": speed.decode_tps_fast and round(speed.decode_tps_fast, 2),
        "prefill": None
        if speed.prefill is None
        else [
            {"tokens": r.tokens, "prefill_s": round(r.prefill_s, 1), "more": r.more}
            for r in speed.prefill
        ],
        "source": speed.source,
        "warning": speed.warning,
    }


# --- from a table


def _from_table(
    run: Run,
    others: Sequence[Run],
    scaled: tuple[float, float | None, str],
    variant: Variant,
    config: Config,
) -> Speed:
    decode, prefill, how = scaled
    context = config.context
    # Decoding reads the weights for each token: a larger quant is slower by its size. A smaller one
    # is not taken to be faster: Q3_K_L is slower than both that are larger.
    heavier = max(1.0, variant.weights_bytes / run.weights_bytes)
    decode /= heavier
    full, less = run.decode_tps(context)
    prompts = sorted({*(tokens for tokens in PROMPTS if tokens < context), context})
    prefill_times = None
    if prefill:
        times = [(tokens, *run.prefill_s(tokens)) for tokens in prompts]
        prefill_times = tuple(PrefillTime(tokens, s / prefill, more) for tokens, s, more in times)
    same = run.quant.lower() == variant.name.lower()
    quant = run.quant if same else f"{run.quant} (the nearest to {variant.name})"
    cache = "" if run.kv_type == config.kv_type else f" with a cache in {run.kv_type}"
    size = f", scaled by {heavier:.2g} for its size" if heavier > _HEAVIER else ""
    source = f"{run.source}'s table for {run.machine}, {quant}{cache}{how}{size}"
    speed = Speed(
        decode_tps_empty=run.decode_tps(0)[0] * decode,
        decode_tps_full=full * decode,
        prefill=prefill_times,
        source=source,
        decode_full_less=less,
    )
    return _warned(speed, context, _faster(run, others, min(context, _SLOW_PROMPT), prefill))


def _faster(run: Run, others: Sequence[Run], tokens: int, prefill: float | None) -> str:
    """Return a sentence on the fastest other run of this machine, if it is much faster."""
    seconds, more = run.prefill_s(tokens)
    known = [other for other in others if not other.prefill_s(tokens)[1]]
    best = min(known, key=lambda other: other.prefill_s(tokens), default=run)
    shorter, _ = best.prefill_s(tokens)
    if more or not prefill or shorter * _FASTER > seconds:
        return ""
    time = _time(PrefillTime(tokens, shorter / prefill))
    return f" In {best.source}'s table {best.quant} with a cache in {best.kv_type} takes {time}."


# --- from bandwidth


@dataclass(frozen=True, slots=True)
class _Rates:
    """GB/s of where most is computed and of main memory, and where the figures come from."""

    here: float
    ram: float
    sources: tuple[str, ...]


def _rates(machine: Machine, chip: Chip | None, away: Elsewhere) -> _Rates | None:
    # A mapping that is larger than a shared memory is worked from by the processor alone.
    on_processor = machine.backend is Backend.CPU or (machine.unified and away.on_disk > 0)
    few = 1 < machine.cores < RAM_GBPS / CORE_GBPS  # one core: not known
    ram, why = (
        (CORE_GBPS * machine.cores, f"{machine.cores} cores")
        if few
        else (RAM_GBPS, "dual-channel DDR5")
    )
    words = []
    if not on_processor:
        if chip is None:
            return None
        gets = f"of which decoding gets about {chip.efficiency:.0%}"
        words.append(f"{chip.gbps:g} GB/s of {chip.name}, {gets}")
    if on_processor or away.in_ram:
        words.append(f"{ram:g} GB/s of main memory, assumed: {why}")
    if away.on_disk:
        least, most = DISK_GBPS
        words.append(f"{least:g} to {most:g} GB/s of the disk, assumed: NVMe")
    return _Rates(chip.effective_gbps if chip and not on_processor else ram, ram, tuple(words))


def _from_bandwidth(
    rates: _Rates, geometry: Geometry, config: Config, traffic: TokenTraffic, away: Elsewhere
) -> Speed:
    here = traffic.resident + traffic.experts * max(0.0, 1 - away.in_ram - away.on_disk)
    in_ram, on_disk = traffic.experts * away.in_ram, traffic.experts * away.on_disk
    least, most = DISK_GBPS

    def tps(depth: int, disk: float) -> float:
        cache = _cache_bytes(geometry, config.kv_type, depth)
        return _tps((here + cache, rates.here), (in_ram, rates.ram), (on_disk, disk))

    speed = Speed(
        decode_tps_empty=tps(0, least),
        decode_tps_full=tps(config.context, least),
        prefill=None,
        source=f"from bandwidth, no measurement: {'; '.join(rates.sources)}",
        decode_tps_fast=tps(0, most) if on_disk else None,
    )
    return _warned(speed, config.context)


def _tps(*read: tuple[float, float]) -> float:
    """Return tokens a second where each reads so many bytes at so many GB/s, one after another."""
    return 1e9 / sum(size / gbps for size, gbps in read)


def _cache_bytes(geometry: Geometry, kv_type: str, depth: int) -> int:
    """Return the bytes of the cache that one token reads behind `depth` others."""
    near = min(depth, geometry.sliding_window)
    return sum(
        layer_bytes(layer, kv_type) * (near if layer.sliding else depth)
        for layer in geometry.layers
    )


# --- small things


def _is_step(geometry: Geometry) -> bool:
    """Whether the published tables are of this model: Step's own shape, not a small twin's."""
    shape = (geometry.arch, len(geometry.layers), geometry.embedding_length)
    return shape == ("step35", 45, 4096) and geometry.experts > 0


def _warned(speed: Speed, context: int, hint: str = "") -> Speed:
    warning = slow(speed, context)
    if warning is None:
        return speed
    return replace(speed, warning=f"{warning}{hint}")


def _tokens(tokens: int) -> str:
    return f"{tokens:,}" if tokens % 1024 else f"{tokens // 1024}K"


def _rate(tps: float) -> str:
    return f"{tps:.1g}" if tps < 1 else f"{tps:.1f}"


def _time(prefill: PrefillTime) -> str:
    return f"{'more than' if prefill.more else 'about'} {duration(prefill.prefill_s)}"
