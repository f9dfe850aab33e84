"""Which published runs a plan may be compared with, and the bounds that they give. Pure.

One run is taken at its word only where machine, system, backend, quant and cache type agree.
Otherwise several runs bound the figure, with the reasons.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from runner.machine.facts import Machine
from runner.plan.memory.kv_cache import Config
from runner.plan.model_spec import Variant
from runner.speed.chips import Scale
from runner.speed.measured import PublishedRow, Run, setting
from runner.speed.span import Span, span

# By how much two runs of one quant on one kind of machine differ that had different caches and
# authors: StepFun's (f16) and gitcommit90's (q4_0) of IQ4_XS on a DGX Spark, 8K to 128K tokens.
DECODE_SPREAD: Final = 1.17
PREFILL_SPREAD: Final = 1.26
# How far beyond its longest prompt a run still bounds a time from below, as a multiple of it.
_REACH: Final = 2
# Prompts whose rates are worth comparing between backends, in tokens.
_COMMON_PROMPTS: Final = (4_096, 32_768)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The runs that bound a plan's speed; `exact` where they are of the very same conditions.

    `same_chip`: whether they are of this very chip, with its count of cores.
    `scale`: from the measured machine to this one. `reasons`: why it is a range, in sentences.
    """

    runs: tuple[Run, ...]
    exact: bool
    same_chip: bool
    scale: Scale
    variant: Variant
    reasons: tuple[str, ...] = ()

    def heavier(self, run: Run) -> float:
        """How many times as large as a run's this quant is; at least 1.

        Decoding reads the weights for each token: a larger quant is slower by its size. A smaller
        one is not taken to be faster: Q3_K_L is slower than both that are larger.
        """
        return max(1.0, self.variant.weights_bytes / run.weights_bytes)

    def decode_tps(self, depth: int) -> tuple[Span, bool] | None:
        """Return the bounds of tokens/s behind `depth` others; and whether it may be less."""
        found = [(run, x) for run in self.runs if (x := run.decode_tps(depth))]
        known = [each for each in found if not each[1][1]]
        less = not known
        if less:  # bounds from above, of which those that reach furthest say most
            furthest = max((run.deepest for run, _ in found), default=0)
            known = [each for each in found if each[0].deepest == furthest]
        if not known:
            return None
        values = [(run.source, tps / self.heavier(run)) for run, (tps, _) in known]
        rate = self._bounds(values, DECODE_SPREAD, self.scale.decode).times(self.scale.decode)
        return Span(rate.high, rate.high) if less else rate, less

    def prefill_s(self, tokens: int) -> tuple[Span, bool] | None:
        """Return the bounds of the seconds to prefill a prompt; and whether it takes longer."""
        ratio = self.scale.prefill
        runs = [run for run in self.runs if run.longest]
        if ratio is None or not runs:
            return None
        furthest = max(run.longest for run in runs)
        near = [run for run in runs if tokens <= _REACH * run.longest]
        near = near or [run for run in runs if run.longest == furthest]
        found = [(run, x) for run in near if (x := run.prefill_s(tokens))]
        values = [(run.source, seconds) for run, (seconds, _) in found]
        more = all(beyond for _, (_, beyond) in found)
        seconds = self._bounds(values, PREFILL_SPREAD, ratio)
        if more:  # each is a bound from below: the least is one for all
            seconds = Span(seconds.low, seconds.low)
        return Span(seconds.low / ratio.high, seconds.high / ratio.low), more

    def _bounds(self, values: Sequence[tuple[str, float]], spread: float, ratio: Span) -> Span:
        """Return the bounds of values and their sources.

        One source alone that measured other conditions, or another chip, gives no bounds: they are
        widened by what such runs differ.
        """
        bounds = span(value for _, value in values)
        other = not self.exact or (not self.same_chip and ratio.factor == 1)
        alone = len({source for source, _ in values}) == 1
        return bounds.widened(spread) if alone and other and bounds.factor < spread else bounds


def compare(
    of_machine: Sequence[Run],
    scale: Scale,
    machine: Machine,
    variant: Variant,
    config: Config,
) -> Comparison:
    """Return which of the runs on this kind of machine bound a plan. There must be at least one."""
    here = (machine.os, str(machine.backend))

    def same_quant(run: Run) -> bool:
        return run.quant.lower() == variant.name.lower()

    def same_cache(run: Run) -> bool:
        return run.kv_type == config.kv_type

    in_setting = [run for run in of_machine if run.setting == here]
    exact = [run for run in in_setting if same_quant(run) and same_cache(run)]
    near = [run for run in in_setting if same_quant(run) or same_cache(run)]
    chosen = exact or near or in_setting or list(of_machine)
    reasons = []
    if not in_setting:
        reasons.append(f"Nobody has published a run with {setting(*here)} on this chip.")
        measured = {run.first.backend for run in of_machine if run.first.system == machine.os}
        reasons += [
            f"An engine that was measured here: steprun engine build --backend {backend}"
            for backend in sorted(measured - {""})
        ]
    elif not exact:
        missing = f"{variant.name} with a {config.kv_type} cache"
        reasons.append(f"Nobody has published a run of {missing} here.")
        if len({run.source for run in chosen}) == 1:
            reasons.append(
                "Runs that differ like this one are up to "
                f"{DECODE_SPREAD - 1:.0%} apart in decode and {PREFILL_SPREAD - 1:.0%} in prefill."
            )
    elif len(exact) > 1:
        reasons.append("Published runs of the same conditions differ.")
    same_chip = scale.decode.factor == 1 and scale.decode.low == 1
    return Comparison(tuple(chosen), bool(exact), same_chip, scale, variant, tuple(reasons))


def by_backend(of_machine: Sequence[Run]) -> tuple[str, ...]:
    """Return a sentence on each backend that was measured on a machine, where there are several."""
    groups: dict[tuple[str, str, bool], list[PublishedRow]] = {}
    for run in of_machine:
        first = run.first
        groups.setdefault((*run.setting, first.inferred), []).extend(run.rows)
    if len(groups) < 2:
        return ()
    return tuple(
        f"Measured on this kind of chip: {setting(system, backend, inferred=inferred)}, "
        + ", ".join(
            text
            for name, rate in (("prefill", _prefill), ("decode", _decode))
            if (text := _rates(name, rows, rate))
        )
        + "."
        for (system, backend, inferred), rows in groups.items()
    )


def _prefill(row: PublishedRow) -> float | None:
    return row.prefill_tps


def _decode(row: PublishedRow) -> float | None:
    return row.decode_tps


def _rates(
    name: str, rows: Iterable[PublishedRow], rate: Callable[[PublishedRow], float | None]
) -> str:
    least, most = _COMMON_PROMPTS
    at = {
        depth: span(found).text()
        for depth in sorted({row.n_prompt for row in rows if least <= row.n_prompt <= most})
        if (found := [x for row in rows if row.n_prompt == depth and (x := rate(row))])
    }
    ends = [(depth, at[depth]) for depth in dict.fromkeys((min(at), max(at)))] if at else []
    figures = [f"{text} tokens/s at {depth:,} tokens" for depth, text in ends]
    return f"{name} {' and '.join(figures)}" if figures else ""
