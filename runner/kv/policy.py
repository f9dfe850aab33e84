"""What is worth keeping, and within which bounds. Pure.

The least valuable file goes first, by GreedyDual-Size-Frequency (Cherkasova, "Improving WWW Proxies
Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs, 1998): what a file is worth is
the seconds that it saves for its size, on top of what the last file that had to go was worth. So
files grow old by the pressure on the disk, not by a clock that can jump.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log2
from typing import Final

from runner.base.units import GIB, size

DAY_S: Final = 86400
# Writing and reading back must cost less than this share of reading the prompt again.
COSTS_AT_MOST: Final = 0.25


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a store, in bytes.

    `budget_bytes`: of all its files, 0 for none. `keep_free_bytes`: what is always left on the
    disk. `bytes_a_day`: the most that is written in a day, by UTC.
    """

    budget_bytes: int
    keep_free_bytes: int
    bytes_a_day: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may have to go: its ID, its bytes, and what it is worth."""

    id: str
    bytes: int
    worth: float


def worth(read_s: float, restores: int, bytes: int, clock: float) -> float:  # noqa: A002 - a size
    """Return what a file is worth: the least valuable one goes first.

    `read_s`: seconds of prefill that it stands for. `restores`: how often it was used; the tenth
    time says less about the next one than the second. `clock`: what the last file was worth that
    had to go; it only grows.
    """
    return clock + (1 + log2(1 + restores)) * read_s / (max(bytes, 1) / GIB)


def worth_writing(
    read_s: float,
    bytes: int,  # noqa: A002 - a size
    bytes_per_s: float,
    stored: float = 0.0,
) -> bool:
    """Return whether a cache is worth its writing.

    `read_s`: seconds of prefill of the whole prompt. `bytes_per_s`: of the disk. `stored`: which
    share of the prompt (0 to 1) another file has already.
    """
    saves = read_s * (1 - stored)
    return saves > 0 and 2 * bytes / max(bytes_per_s, 1.0) <= COSTS_AT_MOST * saves


def leaving(files: Iterable[Candidate], need: int) -> tuple[str, ...] | None:
    """Return which files go, the least valuable first, to free `need` bytes; None: all too few."""
    gone: list[str] = []
    for each in sorted(files, key=lambda file: (file.worth, file.id)):
        if need <= 0:
            break
        gone.append(each.id)
        need -= each.bytes
    return tuple(gone) if need <= 0 else None


def refused(bounds: Bounds, need: int, written: int) -> str:
    """Return why a file of `need` bytes is not written at all, in a sentence; empty: it may be.

    `written`: bytes written today.
    """
    if need > bounds.budget_bytes:
        return (
            f"This prompt's KV cache ({size(need)}) is larger than the disk budget for saved "
            f"prompts ({size(bounds.budget_bytes)})."
        )
    if written + need > bounds.bytes_a_day:
        return (
            f"Saved prompts have written {size(written)} today; with {size(need)} more they would "
            f"exceed the {size(bounds.bytes_a_day)} a day that spare the disk."
        )
    return ""
