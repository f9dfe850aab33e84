"""Getting engines: sources, builds, downloads."""

from dataclasses import dataclass
from pathlib import Path

from runner.engine.installed.stamp import Origin


@dataclass(frozen=True, slots=True)
class Tree:
    """The source of a llama.cpp on this disk, and where it came from.

    `build`: which of llama.cpp's builds it is, 0 where only its own history tells.
    """

    path: Path
    origin: Origin
    build: int = 0
