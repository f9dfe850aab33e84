"""The request log for people: a line for each request, within 80 columns."""

from datetime import datetime
from typing import Any

import click

from runner.base.text import clean, clean_name
from runner.base.units import duration

# Title, width, and whether it is a figure.
_COLUMNS = (
    ("TIME", 8, False),
    ("CLIENT", 14, False),
    ("API", 9, False),
    ("HTTP", 4, True),
    ("PROMPT", 8, True),
    ("CACHED", 8, True),
    ("FIRST", 7, True),
    ("TOKENS", 7, True),
    ("TOK/S", 6, True),
)


_EVENT = 600  # characters of what happened to the engine
_INDENT = " " * 9  # below the client


class RequestLines:
    """Turns lines of the log into rows; a new day begins with a heading."""

    def __init__(self) -> None:
        self._day = ""

    def rows(self, request: dict[str, Any]) -> list[str]:
        """Return what to print for one request."""
        when = _local(str(request.get("time", "")))
        found = []
        if when and (day := f"{when:%Y-%m-%d}") != self._day:
            self._day = day
            found = [click.style(day, bold=True), click.style(_joined(_TITLES), dim=True)]
        if "event" in request:
            words = f"{when:%H:%M:%S} " if when else ""
            words += clean(str(request.get("words", "")))[:_EVENT]
            return [*found, click.style(words, fg="yellow")]
        first, rate = request.get("first_token_s"), request.get("tokens_per_s")
        cells = (
            f"{when:%H:%M:%S}" if when else "?",
            clean_name(str(request.get("client") or "unnamed"), 14),
            clean_name(str(request.get("api", "")), 9),
            str(request.get("status", "")),
            _count(request.get("prompt_tokens")),
            _count(request.get("cached_tokens")),
            _figure(first, 2, "s"),
            _count(request.get("tokens")),
            _figure(rate, 1),
        )
        line = _joined(cells)
        if request.get("prompt_tokens") is None and request.get("path"):
            line = f"{line} {clean(str(request['path']))[:30]}"  # there are no figures in its place
        failed = isinstance(request.get("status"), int) and request["status"] >= 400
        below = [click.style(each, dim=True) for each in _reading(request)]
        return [*found, click.style(line, fg="red") if failed else line, *below]


_TITLES = tuple(title for title, _, _ in _COLUMNS)


def _reading(request: dict[str, Any]) -> list[str]:
    """Return what is to say of the reading of a prompt, a line for each."""
    restored, saved = request.get("restored_tokens"), request.get("saved_s")
    lines = []
    if isinstance(restored, int) and restored:
        after = f", {duration(saved)} saved" if isinstance(saved, int | float) else ""
        lines.append(f"{_INDENT}{restored:,} tokens from the disk{after}")
    if because := request.get("reread_because"):
        lines.append(f"{_INDENT}read again: {clean(str(because))[:200]}")
    if ended := request.get("ended_because"):
        lines.append(f"{_INDENT}ended: {clean(str(ended))[:200]}")
    return lines


def _joined(cells: tuple[str, ...]) -> str:
    return " ".join(
        f"{cell:>{width}}" if figure else f"{cell:{width}}"
        for cell, (_, width, figure) in zip(cells, _COLUMNS, strict=True)
    ).rstrip()


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _figure(value: object, places: int, unit: str = "") -> str:
    """Return a figure with so many decimal places; from 1,000 on without: the column is narrow."""
    if not isinstance(value, int | float):
        return ""
    return f"{value:,.{places if value < 1000 else 0}f}{unit}"


def _local(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        return None
