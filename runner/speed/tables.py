"""Reads the tables of published speeds and of chips, `published.tsv` and `chips.tsv`."""

import csv
import functools
import math
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runner.base.toml import broken, check_pattern
from runner.speed.chips import Chip
from runner.speed.estimate import Tables
from runner.speed.measured import PublishedRow

_HERE = Path(__file__).parent
_Row = TypeVar("_Row", PublishedRow, Chip)


@functools.cache
def tables() -> Tables:
    """Return all of it, for `runner.speed.estimate`. Raises `BadFile` where a file is damaged."""
    return Tables(rows(), chips())


@functools.cache
def rows() -> tuple[PublishedRow, ...]:
    """Return every published measurement of Step-3.7-Flash, StepFun's own first.

    Times that were not published follow from the rates. Raises `BadFile` for a damaged file.
    """
    return _table("published.tsv", PublishedRow)


@functools.cache
def chips() -> tuple[Chip, ...]:
    """Return the chips whose memory bandwidth is known. Raises `BadFile` for a damaged file."""
    return _table("chips.tsv", Chip)


def _table(name: str, kind: type[_Row]) -> tuple[_Row, ...]:
    """Read a table: comments, a line of column names, then the rows, all split by tabs."""
    path = _HERE / name
    try:
        lines = [x for x in path.read_text("utf-8").splitlines() if x and not x.startswith("#")]
        found = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
        # An empty cell is a value that is not known; `strict=False` reads numbers from text.
        rows = [{key: cell for key, cell in row.items() if cell} for row in found]
        for row in rows:
            check_pattern(row.get("pattern", ""))  # here, not in the middle of a plan
        return tuple(msgspec.convert(_timed(row), kind, strict=False) for row in rows)
    except (OSError, ValueError, TypeError) as error:
        raise broken(path, "The table", str(error)) from error


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """Add the times that were not published, where the row has their rates."""
    for phase, tokens in (("prefill", "n_prompt"), ("decode", "n_gen")):
        if tokens in row and f"{phase}_tps" in row:
            rate = float(row[f"{phase}_tps"]) or math.inf  # 0 where there was nothing to time
            row.setdefault(f"{phase}_s", float(row[tokens]) / rate)
    return row
