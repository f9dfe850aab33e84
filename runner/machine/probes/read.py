"""Parses what tools print: figures that survive `[N/A]`, units, locales and terminal codes.

A figure is None when it is not one. Nothing here guesses, and nothing here raises.
"""

import json
import re
from typing import Any

from runner.base.units import GIB, KIB, MIB
from runner.machine.captures.capture import Reader

# Beyond this a size is a sign of something else: "no limit" (2^63 of cgroups), -1 as unsigned.
_MOST_BYTES = 1 << 60
# The same for the memory of one card or chip: the largest there is has under 0.3 TiB (GB300).
MOST_DEVICE_BYTES = 1 << 40
_LONGEST_NAME = 120

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)", re.DOTALL)
_SIZE = re.compile(r"([0-9]{1,20})(?:[.,]([0-9]{1,9}))? ?([A-Za-z]*)")
# The tools that print decimal-looking units (kB of meminfo, MB of nvidia-smi and sysctl) all
# mean powers of two. ggml's own logs do not, and are not read here.
_UNITS = {"b": 1, "kb": KIB, "kib": KIB, "mb": MIB, "mib": MIB, "gb": GIB, "gib": GIB}


def strip_codes(text: str | None, longest: int = _LONGEST_NAME) -> str:
    """Return printable text on one line: no escape codes, no NULs, no lone surrogates."""
    plain = _ESCAPES.sub("", text or "")
    plain = "".join(c if c.isprintable() else " " for c in plain)
    return " ".join(plain.split())[:longest]


def parse_size(text: str | None, unit: int = 1, least: int = 1) -> int | None:
    """Return a size in bytes; `unit` is the bytes of a figure that names no unit.

    A total of 0 is a missing answer, so 0 is None unless `least` allows it.
    """
    match = _SIZE.fullmatch(strip_codes(text))
    if match is None:
        return None
    whole, fraction, name = match.groups()
    scale = _UNITS.get(name.lower()) if name else unit
    if scale is None:
        return None
    value = int(whole) * scale
    if fraction:
        value += int(fraction) * scale // 10 ** len(fraction)
    return value if least <= value <= _MOST_BYTES else None


def device_size(text: str | None, unit: int = 1, least: int = 1) -> int | None:
    """Return the memory of one card or chip in bytes, None for what no card has."""
    value = parse_size(text, unit, least)
    return value if value is not None and value <= MOST_DEVICE_BYTES else None


def count(text: str | None, most: int = 4096) -> int | None:
    """Return a whole number from 1 to `most`."""
    plain = strip_codes(text)
    number = int(plain) if re.fullmatch(r"[0-9]{1,12}", plain) else 0
    return number if 0 < number <= most else None


def stdout_of(reader: Reader, *argv: str) -> str | None:
    """Return what a command printed, or None unless it succeeded."""
    ran = reader.run(*argv)
    return ran.stdout if ran is not None and ran.exit == 0 else None


def document(text: str | None) -> Any:
    """Return the JSON in a tool's output, or None."""
    try:
        return json.loads(text.lstrip("\ufeff")) if text else None
    except (ValueError, RecursionError):
        return None


def rows(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a JSON list; a lone object counts as a list of one."""
    found = value if isinstance(value, list) else [value]
    return [row for row in found if isinstance(row, dict)]


def pairs(text: str | None, separator: str = ":") -> dict[str, str]:
    """Return the `key: value` lines of a text; of equal keys the first."""
    found: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, mark, value = line.partition(separator)
        if mark:
            found.setdefault(key.strip(), value.strip())
    return found


def text_of(value: Any) -> str:
    """Return a JSON text or whole number as text, and anything else as empty text."""
    if isinstance(value, float):  # PowerShell sums whole numbers to 16.0
        value = int(value) if abs(value) <= _MOST_BYTES else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) <= _MOST_BYTES else ""
    return value if isinstance(value, str) else ""
