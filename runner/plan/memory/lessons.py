"""What running has shown beyond what was counted, and how much of that is counted next. Pure.

A miss is what an engine took of main memory, or of the memory that it shares, beyond its ledger,
the reserve aside. A lesson is made of the misses of one machine, one engine build and one driver:
it is never negative, as one run that took less says nothing of the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta, Struct

from runner.base.text import clean_name
from runner.base.units import GIB, MIB, size

# Less than this is not a miss: whatever grows a little with use, an allocator's gaps. A judgement;
# the models of `--demo` took 1 to 123 MiB less than counted here (xllamacpp 11549, Linux).
NOISE_BYTES: Final = 256 * MIB
NOISE_SHARE: Final = 0.01
# So much of the engine's own counts at the first time; all else has to be seen twice. And less than
# this of a driver's does not count at all: what the kernel names of its memory was seen to be half
# a GiB off, for seconds, while large files were read and written.
LARGE_BYTES: Final = GIB
# No more than a sixteenth of the machine is ever counted: 8 GiB of 128. The largest known gap, what
# the model's publisher adds for an engine's overhead, is 7 GB.
MOST_SHARE: Final = 1 / 16
KEPT: Final = 8  # the newest runs of a key; a lesson is forgotten with them
_MOST: Final = 1 << 50

_Bytes = Annotated[int, Meta(ge=0, le=_MOST)]


class Miss(Struct, frozen=True):
    """One run. `counted`: its ledger in bytes; `own`: what the engine itself took, for certain.

    `all`: the same with what a driver took meanwhile, which may have been for another program; as
    much as `own` where there is no driver.
    """

    counted: _Bytes
    own: _Bytes
    all: _Bytes
    model: Annotated[str, Meta(max_length=200)] = ""
    day: Annotated[str, Meta(max_length=10)] = ""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is counted from now on. `seen_bytes`: what was shown, which may be more.

    `runs`: in how many runs; `model` and `day`: the last of them.
    """

    bytes: int
    seen_bytes: int
    runs: int
    model: str = ""
    day: str = ""

    @property
    def why(self) -> str:
        """Its reason, as a ledger gives it."""
        runs = f"{self.runs} runs" if self.runs > 1 else "1 run"
        last = f", last {clean_name(self.model, 60)} on {clean_name(self.day, 10)}"
        most = f"; no more than {size(self.bytes)} is counted" * (self.bytes < self.seen_bytes)
        return (
            f"this machine has shown {size(self.seen_bytes)} more than counted "
            f"({runs}{last * bool(self.model and self.day)}){most}; to forget it: "
            "steprun plan --forget"
        )


def lesson(misses: Sequence[Miss], memory_bytes: int) -> Lesson | None:
    """Return what runs, the oldest first, teach about a machine with so much memory.

    The second largest miss: it was reached twice. Or the largest one of the engine's own, where
    that is large.
    """
    shown = [each for each in misses if _more(each)]
    twice = sorted(map(_more, shown), reverse=True)[1:2]
    large = [each.own - each.counted for each in shown if each.own - each.counted >= LARGE_BYTES]
    if not (seen := max((*twice, *large), default=0)):
        return None
    most = int(memory_bytes * MOST_SHARE)
    return Lesson(min(seen, most), seen, len(shown), shown[-1].model, shown[-1].day)


def _more(miss: Miss) -> int:
    """Return by how much more was taken than counted; 0 for what may be only noise."""
    noise = int(max(NOISE_BYTES, miss.counted * NOISE_SHARE))
    own, everything = miss.own - miss.counted, miss.all - miss.counted
    return max(own if own > noise else 0, everything if everything > noise + LARGE_BYTES else 0)
