"""The figures as a table: those of the chat, what they should be, and those of its peers."""

from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Mapping[str, Mapping[str, Any]]]  # program, stage, figure

# What the figures should be: on a machine that does nothing else where they are of the clock.
GOALS: Mapping[tuple[str, str], str] = {
    ("start", "first_paint_ms"): "< 600",
    ("start", "first_paint_cpu_ms"): "< 450",
    ("0 answers", "shown_per_s"): ">= 58",
    ("50 answers", "shown_per_s"): ">= 57",
    ("200 answers", "shown_per_s"): ">= 55",
    ("200 answers", "ui_cpu_ms_per_s"): "<= 120",
    ("200 answers", "focus_out_ms"): "< 60",
    ("200 answers", "focus_in_ms"): "< 60",
}
KEY_STREAMING = "< 30 / < 150"
KEY_IN_A_BURST = "< 200 at most"


def goal(stage: str, figure: str) -> str:
    """Return what a figure should be, empty where nothing was promised."""
    if figure == "key_streaming_ms":
        return KEY_STREAMING
    burst = not stage.endswith("answers") and not stage.startswith(("in a", "start"))
    if figure == "key_cpu_ms" and burst:
        return KEY_IN_A_BURST
    return GOALS.get((stage, figure), "")


def table(report: Report) -> str:
    """Return the table; the last column: the peer's first figure by that of the first program."""
    first, *peers = report
    rows = [("stage", "figure", "goal", first, *(p for peer in peers for p in (peer, "ratio")))]
    for stage, figures in report[first].items():
        for figure, value in figures.items():
            others = [report[peer].get(stage, {}).get(figure) for peer in peers]
            compared = [cell for other in others for cell in (_text(other), _ratio(value, other))]
            rows.append((stage, figure, goal(stage, figure), _text(value), *compared))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(map(str, value))
    return "" if value is None else str(value)


def _ratio(own: Any, other: Any) -> str:
    own, other = (value[0] if isinstance(value, list) else value for value in (own, other))
    numbers = isinstance(own, int | float) and isinstance(other, int | float)
    return f"{other / own:.2f}" if numbers and own and not isinstance(own, bool) else ""
