"""Getting engines: sources, builds, downloads."""

import shlex
from collections.abc import Iterable, Sequence
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


def shell_line(argv: Sequence[str], env: Iterable[tuple[str, str]] = ()) -> str:
    """Return a command, with the variables it is run with, as one types it in a shell."""
    variables = [f"{name}={value}" for name, value in env]
    return shlex.join([*(["env"] if variables else []), *variables, *argv])
