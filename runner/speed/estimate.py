"""The expected speed of a plan: from published measurements, else from memory bandwidth. Pure.

Decoding is bound by memory: each token reads the active weights, and the cache of all tokens before
it. Prefill is bound by arithmetic, which no simple rule predicts: without a measurement of the same
or a related machine it stays unknown.

A figure is a single one only where the same conditions were measured; else it is a range.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runner.base.units import duration
from runner.catalog.model import Geometry
from runner.machine.facts import Backend, Machine
from runner.plan.memory.kv_cache import Config
from runner.plan.model_spec import Variant
from runner.speed.bandwidth import (
    LEAST_READ_BYTES,
    NOWHERE_ELSE,
    Elsewhere,
    bytes_per_token,
    cache_bytes,
    decode_tps,
    is_step,
    rates_of,
)
from runner.speed.chips import Chip, scale, slowest
from runner.speed.comparable import Comparison, by_backend, compare
from runner.speed.measured import PublishedRow, Run, nearest, runs
from runner.speed.span import Span, between

_TABLES: Final = ("StepFun", "gitcommit90")  # sources that published a whole table
# The lengths of prompt that an estimate lists, beside the whole context.
PROMPTS: Final = (8_192, 32_768, 65_536)
_SLOW_PROMPT: Final = PROMPTS[-1]
_SLOW_S: Final = 300
# Another quant or cache is named only where it is much faster: the runs differ by more than that.
_FASTER: Final = 2
_WIDE: Final = 2  # from here on the source says in words how far the ends of a range are apart
# What owners of a DGX Spark report to gain in decoding by draft heads, 2 drafts being the best. In
# one run at 16,384 tokens (ds4-dfm-rs, published.tsv) decoding was slower with them.
DRAFTS_GAIN: Final = {"DGX Spark": Span(1.16, 1.52)}


@dataclass(frozen=True, slots=True)
class Tables:
    """What is known from elsewhere: measurements and chips (`runner.speed.tables`)."""

    rows: tuple[PublishedRow, ...]
    chips: tuple[Chip, ...]


@dataclass(frozen=True, slots=True)
class PrefillTime:
    """The time to prefill a prompt, at most and at least (None: the same).

    `more`: it takes longer, as no measurement goes so far.
    """

    tokens: int
    prefill_s: float
    more: bool = False
    prefill_s_low: float | None = None

    @property
    def text(self) -> str:
        """The time, for people."""
        longest = duration(self.prefill_s)
        if self.more:
            return f"more than {longest}"
        return between(duration(self.prefill_s_low or self.prefill_s), longest)


@dataclass(frozen=True, slots=True)
class Speed:
    """What to expect: the least, and beside it the most where a range is known (`..._high`).

    `prefill` is None where nothing was measured. `decode_tps_full`: with the planned context full;
    `decode_full_less`: slower than that, as no measurement goes so far. `decode_tps_fast`: at an
    empty context with a fast disk, only where weights stay on the disk; the least is then for a
    slow one. `decode_tps_drafts`: with draft heads, where their gain was measured. `source`: a
    phrase for people. `notes`: sentences: why it is a range, and what else was published.
    """

    decode_tps_empty: float
    decode_tps_full: float
    prefill: tuple[PrefillTime, ...] | None
    source: str
    warning: str | None = None
    decode_full_less: bool = False
    decode_tps_fast: float | None = None
    decode_tps_empty_high: float | None = None
    decode_tps_full_high: float | None = None
    decode_tps_drafts: Span | None = None
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> Span:
        """Tokens/s at an empty context."""
        high = self.decode_tps_empty_high or self.decode_tps_fast
        return Span(self.decode_tps_empty, high or self.decode_tps_empty)

    @property
    def full(self) -> Span:
        """Tokens/s with the planned context full."""
        return Span(self.decode_tps_full, self.decode_tps_full_high or self.decode_tps_full)


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
    compared = _comparable(machine, geometry, tables, chip, elsewhere)
    if chip and compared:
        found = compare(compared, scale(chip, tables.chips), machine, variant, config)
        if (speed := _from_runs(found, compared, config, chip)) is not None:
            return replace(speed, notes=(*speed.notes, *_context(chip, tables)))
    traffic = bytes_per_token(geometry, variant)
    if traffic is None or traffic.resident + traffic.experts < LEAST_READ_BYTES:
        return None
    rates = rates_of(machine, chip, elsewhere)
    if rates is None:
        return None

    def decode(depth: int) -> Span:
        cache = cache_bytes(geometry, config.kv_type, depth)
        return decode_tps(rates, traffic, elsewhere, cache)

    empty, full = decode(0), decode(config.context)
    speed = Speed(
        decode_tps_empty=empty.low,
        decode_tps_empty_high=empty.high,
        decode_tps_full=full.low,
        decode_tps_full_high=full.high,
        prefill=None,
        source=f"from bandwidth, no measurement: {'; '.join(rates.sources)}",
        decode_tps_fast=empty.high if elsewhere.on_disk else None,
        notes=_context(chip, tables) if is_step(geometry) else (),
    )
    return _warned(speed, config.context)


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
    found = _comparable(machine, geometry, tables, chip, elsewhere)
    where = (machine.os, str(machine.backend))
    return nearest(found, variant.name, variant.weights_bytes, config.kv_type, where)


def _comparable(
    machine: Machine, geometry: Geometry, tables: Tables, chip: Chip | None, elsewhere: Elsewhere
) -> list[Run]:
    """Return the runs on this kind of machine; none for another model, or experts elsewhere."""
    whole = elsewhere == NOWHERE_ELSE
    if chip is None or not whole or machine.backend is Backend.CPU or not is_step(geometry):
        return []
    return [run for run in runs(tables.rows) if run.machine == chip.like]


def slow(speed: Speed, context: int) -> str | None:
    """Return a warning where a plan is legal but slow; None where it is not."""
    if speed.decode_tps_fast is not None:
        return (
            f"About {_rate(speed.decode_tps_empty)} to {_rate(speed.decode_tps_fast)} tokens/s: "
            "weights that do not fit are read from the disk again for each token."
        )
    within = [r for r in speed.prefill or () if r.tokens <= min(context, _SLOW_PROMPT)]
    if not within or within[-1].prefill_s <= _SLOW_S:
        return None
    first, last = within[0], within[-1]
    short = f"; {_tokens(first.tokens)} takes {_time(first)}" if first is not last else ""
    return (
        f"Prefill of {_tokens(last.tokens)} tokens takes {_time(last)} on this machine"
        f"{short}, by the figures above."
    )


def prefill_rate(speed: Speed | None) -> float:
    """Return the tokens of a short prompt that are read in a second at least, 0 where unknown."""
    times = [time for time in (speed.prefill if speed else None) or () if not time.more]
    return times[0].tokens / times[0].prefill_s if times and times[0].prefill_s else 0.0


def to_json(speed: Speed) -> dict[str, Any]:
    """Return the estimate for a document; unknown is null."""
    return {
        "decode_tps_empty": round(speed.decode_tps_empty, 2),
        "decode_tps_empty_high": round(speed.empty.high, 2),
        "decode_tps_full": round(speed.decode_tps_full, 2),
        "decode_tps_full_high": round(speed.full.high, 2),
        "decode_full_less": speed.decode_full_less,
        "decode_tps_fast": speed.decode_tps_fast and round(speed.decode_tps_fast, 2),
        "prefill": None
        if speed.prefill is None
        else [
            {
                "tokens": r.tokens,
                "prefill_s": round(r.prefill_s, 1),
                "prefill_s_low": round(r.prefill_s_low or r.prefill_s, 1),
                "more": r.more,
            }
            for r in speed.prefill
        ],
        "decode_tps_drafts": None
        if (drafts := speed.decode_tps_drafts) is None
        else [round(drafts.low, 2), round(drafts.high, 2)],
        "source": speed.source,
        "notes": list(speed.notes),
        "warning": speed.warning,
    }


# --- from published runs


def _from_runs(
    found: Comparison, of_machine: Sequence[Run], config: Config, chip: Chip
) -> Speed | None:
    context = config.context
    empty, full = found.decode_tps(0), found.decode_tps(context)
    if empty is None or full is None:
        return None
    prompts = sorted({*(tokens for tokens in PROMPTS if tokens < context), context})
    times = [
        PrefillTime(tokens, at[0].high, at[1], at[0].low)
        for tokens in prompts
        if (at := found.prefill_s(tokens))
    ]
    reasons = [
        *found.reasons,
        *([f"The figures are {found.scale.why}."] if found.scale.why else ()),
    ]
    spans = (Span(time.prefill_s_low or time.prefill_s, time.prefill_s) for time in times)
    widest = max(each.factor for each in (empty[0], full[0], *spans))
    if widest > _WIDE:
        reasons.append(
            f"The ends of these ranges are up to {widest:.1f} times apart: `steprun bench --quick` "
            "measures this machine."
        )
    gain = DRAFTS_GAIN.get(chip.like) if config.mtp and chip.measured else None
    speed = Speed(
        decode_tps_empty=empty[0].low,
        decode_tps_empty_high=empty[0].high,
        decode_tps_full=full[0].low,
        decode_tps_full_high=full[0].high,
        decode_full_less=full[1],
        decode_tps_drafts=empty[0].times(gain) if gain else None,
        prefill=tuple(times) or None,
        source=_source(found),
        notes=(*reasons, *by_backend(of_machine)),
    )
    return _warned(speed, context, _faster(found, of_machine, min(context, _SLOW_PROMPT)))


def _source(found: Comparison) -> str:
    """Return who measured what, in one phrase for each source and setting."""
    groups: dict[tuple[str, bool], list[Run]] = {}
    for run in found.runs:
        groups.setdefault((run.source, run.first.inferred), []).append(run)
    phrases = []
    for (source, inferred), several in groups.items():
        table = f"{source}'s table for" if source in _TABLES else f"{source}: a run on"
        table += f" {several[0].machine}"
        kinds = dict.fromkeys(r.quant if found.exact else r.first.conditions for r in several)
        where = ", probably Vulkan under Windows" if inferred else ""
        phrases.append(f"{table}, {'; '.join(kinds)}{where}")
    return " / ".join(phrases)


def _faster(found: Comparison, others: Sequence[Run], tokens: int) -> str:
    """Return a sentence on the fastest other run of this setting, if it is much faster."""
    here, ratio = found.prefill_s(tokens), found.scale.prefill
    setting = found.runs[0].setting
    known = [
        (at[0], run)
        for run in others
        if run.setting == setting and (at := run.prefill_s(tokens)) and not at[1]
    ]
    if here is None or here[1] or ratio is None or not known:
        return ""
    seconds, best = min(known, key=lambda pair: pair[0])
    shorter = Span(seconds / ratio.high, seconds / ratio.low)
    if shorter.low * _FASTER > here[0].low:
        return ""
    time = _time(PrefillTime(tokens, shorter.high, prefill_s_low=shorter.low))
    return f" In {best.source}'s table {best.quant} with a cache in {best.kv_type} takes {time}."


def _context(chip: Chip | None, tables: Tables) -> tuple[str, ...]:
    """Return what was published for a chip that no estimate can rest on, with the reason."""
    names = {chip.name, chip.like if chip.measured else chip.name} if chip else set()
    rows = [row for row in tables.rows if row.left_out and row.machine in names]
    found = next((row for row in rows if row.engine.startswith("llama.cpp")), None)
    found = found or next(iter(rows), None)
    if found is None:
        return ()
    return (
        f"Published for {found.machine} with {found.engine} ({found.conditions}): {found.measured} "
        f"at {found.n_prompt:,} tokens; not used here ({found.left_out}).",
    )


# --- small things


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
    return prefill.text if prefill.more else f"about {prefill.text}"
