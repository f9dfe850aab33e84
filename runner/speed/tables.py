"""Reads the tables of published speeds and of chips, `published.tsv` and `chips.tsv`."""

import csv
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from runner.base.errors import BadFile
from runner.speed.chips import Chip
from runner.speed.estimate import Tables
from runner.speed.measured import PublishedRow

_HERE = Path(__file__).parent
_Made = TypeVar("_Made")


@functools.cache
def tables() -> Tables:
    """Return all of it, for `runner.speed.estimate`. Raises `BadFile` where a file is damaged."""
    return Tables(rows(), chips())


@functools.cache
def rows() -> tuple[PublishedRow, ...]:
    """Return every published measurement of Step-3.7-Flash, StepFun's own first.

    Times that were not published follow from the rates. Raises `BadFile` for a damaged file.
    """
    return _table("published.tsv", _row)


@functools.cache
def chips() -> tuple[Chip, ...]:
    """Return the chips whose memory bandwidth is known. Raises `BadFile` for a damaged file."""
    return _table("chips.tsv", _chip)


def _table(name: str, made: Callable[[dict[str, str]], _Made]) -> tuple[_Made, ...]:
    """Read a table: comments, a line of column names, then the rows, all split by tabs."""
    path = _HERE / name
    try:
        lines = [x for x in path.read_text("utf-8").splitlines() if x and not x.startswith("#")]
        found = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
        return tuple(made(row) for row in found)
    except (OSError, ValueError, KeyError, TypeError, re.error) as error:
        raise BadFile(
            f"The table {path} cannot be read.", why=f"{error}.", next="Install steprun again."
        ) from error


def _row(cells: dict[str, str]) -> PublishedRow:
    n_prompt, n_gen = int(cells["n_prompt"]), int(cells["n_gen"])
    prefill_tps, decode_tps = float(cells["prefill_tps"]), float(cells["decode_tps"])
    return PublishedRow(
        machine=cells["machine"],
        quant=cells["quant"],
        weights_bytes=int(cells["weights_bytes"]),
        kv_type=cells["kv"],
        n_prompt=n_prompt,
        n_gen=n_gen,
        prefill_s=float(cells["prefill_s"] or (n_prompt and n_prompt / prefill_tps)),
        prefill_tps=prefill_tps,
        decode_s=float(cells["decode_s"] or n_gen / decode_tps),
        decode_tps=decode_tps,
        source=cells["source"],
    )


def _chip(cells: dict[str, str]) -> Chip:
    re.compile(cells["pattern"])  # refuse a broken one here, not in the middle of a plan
    return Chip(
        name=cells["name"],
        pattern=cells["pattern"],
        cores=int(cells["cores"]) if cells["cores"] else None,
        gbps=float(cells["gbps"]),
        like=cells["like"],
        decode=_number(cells["decode"]),
        prefill=_number(cells["prefill"]),
        efficiency=float(cells["efficiency"]),
        source=cells["source"],
    )


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
