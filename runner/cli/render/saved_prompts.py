"""Saved prompts for people: what each is, and what all of them have saved."""

from collections.abc import Sequence

import click

from runner.base.text import clean
from runner.base.units import duration, size
from runner.kv.saved import Saved, Totals

_TITLES = f"{'ID':16}{'TOKENS':>9}{'SIZE':>11}{'USED':>12}{'TIMES':>7}{'SAVED':>9}  WHAT"


def saved_text(listed: Sequence[Saved], totals: Totals, now: float) -> str:
    """Return the files, the most valuable first, and their totals below."""
    if not listed:
        return "No prompts are saved."
    lines = [click.style(_TITLES, dim=True), *(_row(each, now) for each in listed), ""]
    return "\n".join([*lines, totals_text(totals)])


def totals_text(totals: Totals) -> str:
    """Return what all files come to, against the budget."""
    one = "1 prompt is" if totals.files == 1 else f"{totals.files:,} prompts are"
    held = size(totals.bytes)
    if totals.bounds is not None:
        held += f" of {size(totals.bounds.budget_bytes)}"
    return (
        f"{one} saved ({held}); {size(totals.written_today)} written today. "
        f"Prefill saved so far: {duration(totals.saved_s)}."
    )


def _row(saved: Saved, now: float) -> str:
    # A clock that was set back makes a file of the future: it was used just now.
    age = duration(max(0.0, now - saved.used)) + " ago"
    return (
        f"{saved.id:16}{saved.tokens:>9,}{size(saved.bytes):>11}{age:>12}{saved.restores:>7,}"
        f"{duration(saved.saved_s):>9}  {clean(saved.title)}"
    )
