"""What is worth keeping, and within which bounds. Pure.

The least valuable file goes first, by GreedyDual-Size-Frequency (Cherkasova, "Improving WWW Proxies
Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs, 1998): what a file is worth is
the seconds that it saves for its size, on top of what the last file that had to go was worth. So
files grow old by the pressure on the disk, not by a clock that can jump.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import log2
from typing import Final

from runner.base.units import GIB, size

DAY_S: Final = 86400
# Of what is free on the disk and what is stored already, this much may be used: what journald takes
# of a disk by default (SystemMaxUse= in journald.conf(5)).
SHARE: Final = 0.10
# Left on the disk: what ext4 keeps back (mke2fs(8), -m), though no more than updates of a system
# and a download need.
LEFT_SHARE: Final = 0.05
LEFT_MOST: Final = 16 * GIB
# Written in a day: a tenth of the disk. Drives of this class are rated for 0.33 drive writes a day
# (600 TB for 1 TB in 5 years, Samsung 990 PRO), those with four bits a cell for about 0.12.
WRITTEN_SHARE: Final = 0.10
# Writing and reading back must cost less than this share of reading the prompt again.
COSTS_AT_MOST: Final = 0.25

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True)
class Bounds:
    """In bytes: all files together, what stays free on their disk, what is written in a day."""

    most: int
    room: int
    a_day: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that may have to go: its ID, its bytes, and what it is worth."""

    id: str
    bytes: int
    worth: float


def bounds_for(total: int, free: int, held: int = 0, most: int | None = None) -> Bounds:
    """Return the bounds on a disk of `total` bytes, of which `free` are.

    `held`: bytes of the files that are stored already. `most`: what the user allows; by default a
    share of the disk's free space.
    """
    return Bounds(
        most=int(SHARE * (free + held)) if most is None else most,
        room=min(int(LEFT_SHARE * total), LEFT_MOST),
        a_day=int(WRITTEN_SHARE * total),
    )


def budget(text: str) -> int | None:
    """Return the bytes of `20G`, `1.5 TiB` or `off` (0); None where it is none of these.

    The letters count in powers of 1024, as sizes are shown.
    """
    if text.strip().lower() == "off":
        return 0
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    return int(float(found[1]) * 1024 ** _POWERS[found[2].upper()])


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


def leaving(files: Iterable[Kept], need: int) -> tuple[str, ...] | None:
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
    if need > bounds.most:
        return (
            f"This prompt's KV cache ({size(need)}) is larger than the disk budget for saved "
            f"prompts ({size(bounds.most)})."
        )
    if written + need > bounds.a_day:
        return (
            f"Saved prompts have written {size(written)} today; with {size(need)} more they would "
            f"exceed the {size(bounds.a_day)} a day that spare the disk."
        )
    return ""
