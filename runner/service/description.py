"""What a service of the user's is: the same for every system. Pure."""

import os.path
import sys
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base.errors import Refused
from runner.plan.choose import Plan
from runner.plan.floors import floors
from runner.plan.memory.ledger import LedgerEntry

TITLE: Final = "steprun serve: a language model for the programs on this machine"
# What the gateway and its guard take beside the engine. Measured: 150 MiB resident (Linux x86-64,
# CPython 3.11); the rest is for requests with pictures.
GATEWAY_BYTES: Final = 1 << 30
_CARRIED: Final = Path(__file__).with_name("carried.toml")


@dataclass(frozen=True, slots=True)
class MemoryBounds:
    """Of all its processes together, in bytes: slowed down above `high`, `most` at most."""

    high: int
    most: int


@dataclass(frozen=True, slots=True)
class ServiceDescription:
    """A service: the command that it runs, and in which environment.

    `log`: where its output goes, on systems that keep none themselves. `stop_s`: how many seconds
    its end may take. `user`: as the system names this user. `memory`: what it may take, None for
    as much as there is.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    log: Path = Path()
    stop_s: int = 90
    user: str = ""
    memory: MemoryBounds | None = None


def check_writable(description: ServiceDescription) -> None:
    """Raise Refused where a text of the service cannot be written into any file of a system."""
    texts = [*description.argv, *(f"{name}={value}" for name, value in description.env)]
    for text in texts:
        if any(unicodedata.category(each) in {"Cc", "Cs"} for each in text):
            raise Refused(
                "A service cannot be started with this command.",
                why=f"{text!r} has a control character, or one that is not valid in a text.",
                next="Rename the file or the folder.",
            )


def program(called: str, script: str = "") -> tuple[str, ...]:
    """Return the words that start this steprun from anywhere.

    `called`: argv[0] of this process; `script`: the `scripts/steprun` that has started it, if any.
    """
    if script:
        path = os.path.abspath(script)  # noqa: PTH100 - a link stays a link: it may be moved
        runs = os.name == "posix" and os.access(path, os.X_OK)
        return (path,) if runs else (sys.executable, path)
    if os.name == "nt":  # a program of the console would open a window
        windowless = Path(sys.executable).with_name("pythonw.exe")
        return (str(windowless if windowless.exists() else sys.executable), "-P", "-m", "runner")
    path = os.path.abspath(called)  # noqa: PTH100 - as above
    if Path(called).stem == "steprun" and os.access(path, os.X_OK):
        return (path,)
    return (sys.executable, "-P", "-m", "runner")


def carried(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables that a service is given, folders as absolute paths."""
    names: dict[str, Sequence[str]] = tomllib.loads(_CARRIED.read_text("utf-8"))
    found = []
    for name in (*names["folders"], *names["others"]):
        value = environ.get(name, "")
        if value and name in names["folders"]:
            value = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111 - as `base.paths`
        if value:
            found.append((name, value))
    return tuple(found)


def memory_bounds(plan: Plan) -> MemoryBounds:
    """Return what a service may take, by its plan.

    Below the bound, the plan's reserve is still left of it: so a plan made within it is the same.
    The guard stops the engine at half of the reserve; a quarter of it above the bound is where the
    kernel would do it.
    """
    reserve = 2 * floors(plan).least
    main = plan.placement.held[-1]
    held = sum(item.bytes for item in main.items if item.item is not LedgerEntry.RESERVE)
    high = held + reserve + GATEWAY_BYTES
    return MemoryBounds(high, high + reserve // 4)
