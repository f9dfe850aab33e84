"""The `[build]` tables of `builds/*.toml`: how llama.cpp is built, as rows with conditions. Pure.

Of the rows of one name the first whose conditions hold on a machine is taken, so that what is
special to one machine stands before what is meant for all.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from runner.base.toml import Strict, check_pattern, matching
from runner.machine.facts import Machine, Platform

TEMPLATE = re.compile(r"\{([^}]+)\}")  # in a setting's value

Os = Literal["linux", "macos", "windows"]
_Text = Annotated[str, Meta(min_length=1)]
_Version = Annotated[str, matching(r"[0-9.]+")]


class Row(Strict, frozen=True, kw_only=True):
    """A row with its conditions; one that is left out always holds.

    `devices`: a pattern that the name of every device matches; with no device it does not hold.
    """

    devices: str = ""
    platform: Platform | None = None
    os: Os | None = None

    def __post_init__(self) -> None:
        """Refuse a pattern that is not one: ValueError."""
        check_pattern(self.devices)

    def holds(self, machine: Machine) -> bool:
        """Whether the row is meant for this machine."""
        names = [device.name for device in machine.devices]
        found = not self.devices or (
            bool(names) and all(re.search(self.devices, name, re.IGNORECASE) for name in names)
        )
        return found and self.platform in {None, machine.platform} and self.os in {None, machine.os}


class Setting(Row, frozen=True, kw_only=True):
    """A definition for cmake or a variable of its environment, and why it is as it is.

    In `value`, `{NAME}` stands for where the program of the need NAME lies, `{NAME/..}` for the
    folder that it lies in, and `{NAME WORDS}` for what it answers to these words.
    """

    name: Annotated[str, matching(r"[A-Z][A-Za-z0-9_]*")]
    value: _Text
    why: _Text


class Least(Row, frozen=True, kw_only=True):
    """The oldest version of a need that will do on a machine."""

    version: _Version = msgspec.field(name="least")
    why: str = ""


class Need(Row, frozen=True, kw_only=True):
    """Something that a build cannot do without: a program, or a file.

    `programs`: names, any of which will do; `places`: folders to look in beside PATH. `files`:
    patterns, any of which will do. `ask`: arguments that a program must answer, and `version` is
    the pattern of its version in the answer. `least`: the oldest version that will do, where none
    of `newer` holds. `install`: by system, `any` for all others.
    """

    name: _Text
    why: _Text
    programs: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    version: str = ""
    least: _Version | None = None
    newer: tuple[Least, ...] = ()
    install: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a need that could not be looked for: ValueError."""
        super().__post_init__()
        check_pattern(self.version)
        if bool(self.programs) == bool(self.files):
            raise ValueError(f"{self.name} needs either `programs` or `files`")
        if (self.least or self.newer) and not (self.ask and self.version):
            raise ValueError(f"`least` of {self.name} needs `ask` and `version`")

    def oldest(self, machine: Machine) -> Least | None:
        """Return the oldest version that will do on a machine; None where any will."""
        newer = next((least for least in self.newer if least.holds(machine)), None)
        return newer or (Least(version=self.least) if self.least else None)


class Build(Strict, frozen=True, kw_only=True):
    """How a backend is built. `systems`: where it can be; empty: anywhere.

    `job_mib`: the most memory that one compiler takes. `room_mib`: the disk that a build takes.
    """

    define: tuple[Setting, ...] = ()
    environment: tuple[Setting, ...] = ()
    needs: tuple[Need, ...] = ()
    systems: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    safe_flags: tuple[str, ...] = ()
    job_mib: Annotated[int, Meta(ge=1)] = 0
    room_mib: Annotated[int, Meta(ge=1)] = 0


@dataclass(frozen=True, slots=True)
class Tools:
    """What was found. `values`: by need, its program; by a program's question, its answer.

    `versions`: what each program said of itself: another compiler makes another build.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def fill(self, template: str) -> str | None:
        """Return a setting's value with its templates filled in; None where one is not known."""
        try:
            return TEMPLATE.sub(lambda found: self._value(found[1]), template)
        except KeyError:
            return None

    def _value(self, name: str) -> str:
        base, *ups = name.split("/..")
        path = self.values[base]
        for _ in ups:
            path = str(PurePath(path).parent)
        return path


_Named = TypeVar("_Named", Setting, Need)


def chosen(rows: Iterable[_Named], machine: Machine) -> list[_Named]:
    """Return the rows for a machine: of each name the first that is meant for it."""
    found: dict[str, _Named] = {}
    for row in rows:
        if row.holds(machine):
            found.setdefault(row.name, row)
    return list(found.values())
