"""Progress of long work, as values: what is being done, how much of it, of how much. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What long work is doing; the value is what people read."""

    SEARCHING = "searching"
    CHECKING = "checking"
    DOWNLOADING = "downloading"
    WAITING = "waiting"
    VERIFYING = "verifying"
    REPAIRING = "repairing"
    UNPACKING = "unpacking"
    CLONING = "cloning"
    CONFIGURING = "configuring"
    COMPILING = "compiling"
    RESTARTING = "starting over"
    INSTALLING = "installing"
    INSPECTING = "inspecting"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of long work.

    `done` of `total`: bytes, files or steps; `total` 0 where nobody knows it. `detail`: what
    exactly, such as the name of a file or the reason for waiting; may be empty.
    """

    phase: Phase
    done: int = 0
    total: int = 0
    detail: str = ""

    def __str__(self) -> str:
        """Return the phase and its detail in words."""
        return f"{self.phase}: {self.detail}" if self.detail else str(self.phase)


OnProgress = Callable[[Progress], None]
WAITING_FOR_ANOTHER = Progress(Phase.WAITING, detail="another steprun does the same")


def ignore(_: Progress) -> None:
    """Take no notice of progress."""
