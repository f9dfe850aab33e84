"""The report of a measurement: a table beside the published one, a verdict, a document. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from runner.bench.grid import Measurement
from runner.speed import measured
from runner.speed.estimate import PrefillTime, Speed
from runner.speed.measured import Run, setting
from runner.speed.span import between

SCHEMA: Final = "steprun.bench/1"
# Two runs of one quant on one kind of machine, StepFun's and gitcommit90's on a DGX Spark, are up
# to 17 % apart where they are compared here (published.tsv).
AS_FAST: Final = 0.8


def head(run: Run | None) -> str:
    """Return the head of the table; with columns for what was published, where something was."""
    beside = f"{'published':>11}{'ratio':>7}" if run else ""
    return f"{'prompt':>8}{'prefill tokens/s':>18}{beside}{'decode tokens/s':>17}{beside}"


def bench_line(row: Measurement, run: Run | None) -> str:
    """Return one line of the table."""
    known = _published(row, run)
    prefill = f"{row.prefill_tps:18.2f}" if row.n_prompt else f"{'-':>18}"
    if run is None:
        return f"{row.n_prompt:8,}{prefill}{row.decode_tps:17.2f}"
    prefill += _beside(row.prefill_tps, known.prefill_tps if known else 0)
    decode = _beside(row.decode_tps, known.decode_tps if known else 0)
    return f"{row.n_prompt:8,}{prefill}{row.decode_tps:17.2f}{decode}"


def _beside(here: float, there: float | None) -> str:
    return f"{there:11.2f}{here / there:7.2f}" if there else f"{'-':>11}{'-':>7}"


def _published(row: Measurement, run: Run | None) -> measured.PublishedRow | None:
    """Return what was published for the same lengths."""
    same = (r for r in (run.rows if run else ()) if r.n_prompt == row.n_prompt)
    return next((r for r in same if r.n_gen == row.n_gen and row.parallel == 1), None)


def source(run: Run) -> str:
    """Say what the published columns are."""
    first = run.first
    where = setting(first.system, first.backend, inferred=first.inferred)
    return f"Published: {run.source}, {run.machine}, {first.conditions}, {where}."


def verdict(rows: Sequence[Measurement], speed: Speed | None, run: Run | None) -> str:
    """Say whether it is as fast as the published figures let expect, scaled where they have to be.

    Empty where nothing was published of this model and machine, or nothing measured to compare.
    """
    if speed is None or run is None:
        return ""
    found = list(_compared(rows, speed))
    slow = [text for share, text in found if share < AS_FAST]
    if slow:
        return f"Slow: {'; '.join(slow)} ({speed.source})."
    return f"As fast as expected ({speed.source})." if found else ""


def _compared(rows: Sequence[Measurement], speed: Speed) -> Iterator[tuple[float, str]]:
    """Yield what share of the expected speed each comparable figure has, and what to say of it."""
    times = {reading.tokens: reading for reading in speed.prefill or ()}
    for row in rows:
        expected = times.get(row.n_prompt)
        if row.n_prompt == 0:
            share = row.decode_tps / speed.decode_tps_empty
            yield (
                share,
                f"decode runs at {row.decode_tps:.3g} tokens/s, and "
                f"{speed.empty.text()} tokens/s were expected",
            )
        elif expected and not expected.more:
            yield (
                expected.prefill_s / row.prefill_s if row.prefill_s else 1.0,
                f"prefill of {row.n_prompt:,} tokens takes {row.prefill_s:.0f} s, and "
                f"{_seconds(expected)} were expected",
            )


def _seconds(expected: PrefillTime) -> str:
    low = expected.prefill_s_low or expected.prefill_s
    return between(f"{low:.0f} s", f"{expected.prefill_s:.0f} s")


def to_json(
    rows: Sequence[Measurement],
    run: Run | None,
    *,
    finished: bool,
    verdict: str = "",
    **about: Any,
) -> dict[str, Any]:
    """Return the document; `about`: engine, machine, model, quant, and how it was measured."""
    return {
        "schema": SCHEMA,
        **about,
        "published": source(run) if run else None,
        "verdict": verdict or None,
        "rows": [_row(row, _published(row, run)) for row in rows],
        "finished": finished,
    }


def _row(row: Measurement, known: measured.PublishedRow | None) -> dict[str, Any]:
    figures = {key: round(value, 6) for key, value in asdict(row).items()}
    if known is None:
        return figures
    beside = (("decode", known.decode_tps), ("prefill", known.prefill_tps))
    return {**figures, **{f"published_{phase}_tps": tps for phase, tps in beside if tps}}
