"""A recorded movement of memory: four looks a second at what Linux says of it.

A file is gzipped text: lines that begin with `#` say what it is, one line names the columns, and
each further line is one look, its figures separated by tabs. All but the first are written as the
difference to the line before, which makes the file a fifth as large.
"""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COLUMNS: Final = (
    *("ms", "available_kib", "free_kib", "cached_kib", "swap_free_kib"),
    *("some_us", "full_us", "swapped_in", "swapped_out"),
)
MOST_LINES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """One look: seconds since the first, bytes, and seconds lost since the first."""

    at: float
    available: int
    swap: int
    stalled: float


@dataclass(frozen=True, slots=True)
class Trace:
    """All looks of a file, and what they are of. `total`: the machine's memory in bytes."""

    name: str
    note: str
    total: int
    looks: tuple[Look, ...]


def write(path: Path, notes: Iterable[str], rows: Iterable[tuple[int, ...]]) -> int:
    """Write a file; returns its size in bytes."""
    lines, before = [*(f"# {note}" for note in notes), "\t".join(COLUMNS)], (0,) * len(COLUMNS)
    for row in rows:
        lines.append("\t".join(str(new - old) for new, old in zip(row, before, strict=True)))
        before = row
    # No name and no time inside: the same looks make the same file.
    path.write_bytes(gzip.compress("\n".join(lines).encode("ascii", "replace"), 9, mtime=0))
    return path.stat().st_size


def read(path: Path) -> Trace:
    """Read a file. Raises ValueError where it is none."""
    notes, looks, row = {}, [], (0,) * len(COLUMNS)
    for line in _lines(path):
        if line.startswith("# "):
            key, _, value = line[2:].partition(": ")
            notes[key] = value
        elif line != "\t".join(COLUMNS):
            steps = [int(word) for word in line.split("\t")]
            row = tuple(old + new for old, new in zip(row, steps, strict=True))
            ms, available, _, _, swap, _, full, _, _ = row
            looks.append(Look(ms / 1e3, available << 10, swap << 10, full / 1e6))
    if not looks:
        raise ValueError(f"{path} holds no looks")
    name = path.name.partition(".")[0]
    return Trace(name, notes.get("what", ""), int(notes["memory_kib"]) << 10, tuple(looks))


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="ascii") as file:
        for number, line in enumerate(file):
            if number > MOST_LINES:
                raise ValueError(f"{path} is too long")
            yield line.rstrip("\n")
