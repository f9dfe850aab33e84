"""The `[build]` tables of `builds/*.toml`: how llama.cpp is built, as rows with conditions. Pure.

Of the rows of one name the first whose conditions hold on a machine is taken, so that what is
special to one machine stands before what is meant for all.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol, TypeVar

from runner.base.tables import Table
from runner.machine.facts import Machine, Platform

TEMPLATE = re.compile(r"\{([^}]+)\}")  # in a setting's value


@dataclass(frozen=True, slots=True)
class When:
    """The conditions of a row; an empty one always holds.

    `devices`: a pattern that the name of every device has; with no device it does not hold.
    """

    devices: str = ""
    platform: str = ""
    os: str = ""

    def holds(self, machine: Machine) -> bool:
        """Whether the row is meant for this machine."""
        names = [device.name for device in machine.devices]
        found = not self.devices or (
            bool(names) and all(re.search(self.devices, name, re.IGNORECASE) for name in names)
        )
        return (
            found and self.platform in {"", machine.platform.value} and self.os in {"", machine.os}
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """A definition for cmake or a variable of its environment, and why it is as it is.

    In `value`, `{NAME}` stands for where the program of the need NAME lies, `{NAME/..}` for the
    folder that it lies in, and `{NAME WORDS}` for what it answers to these words.
    """

    name: str
    value: str
    why: str
    when: When


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a build cannot do without: a program, or a file.

    `programs`: names, any of which will do; `places`: folders to look in beside PATH. `files`:
    patterns, any of which will do. `ask`: arguments that a program must answer, and `version` is
    the pattern of its version in the answer. `least`: versions with conditions, the first that
    holds is asked for; `install`: by system, `any` for all others.
    """

    name: str
    why: str
    programs: tuple[str, ...]
    places: tuple[str, ...]
    files: tuple[str, ...]
    ask: tuple[str, ...]
    version: str
    least: tuple["Least", ...]
    install: dict[str, str]
    when: When


@dataclass(frozen=True, slots=True)
class Least:
    """The oldest version of a need that will do on a machine."""

    version: str
    why: str
    when: When


@dataclass(frozen=True, slots=True)
class Build:
    """How a backend is built. `systems`: where it can be; empty: anywhere.

    `job_mib`: the most memory that one compiler takes. `room_mib`: the disk that a build takes.
    """

    define: tuple[Setting, ...]
    environment: tuple[Setting, ...]
    needs: tuple[Need, ...]
    systems: tuple[str, ...]
    targets: tuple[str, ...]
    safe_flags: tuple[str, ...]
    job_mib: int
    room_mib: int


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


class _Row(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def when(self) -> When: ...


Row = TypeVar("Row", bound=_Row)


def chosen(rows: Iterable[Row], machine: Machine) -> list[Row]:
    """Return the rows for a machine: of each name the first that is meant for it."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.when.holds(machine):
            found.setdefault(row.name, row)
    return list(found.values())


def read_rows(table: Table) -> Build:
    """Read a `[build]` table. Raises `BadFile` for a key that nobody knows, or no good value."""
    build = Build(
        define=tuple(map(_setting, table.rows("define"))),
        environment=tuple(map(_setting, table.rows("environment"))),
        needs=tuple(map(_need, table.rows("needs"))),
        systems=table.texts("systems"),
        targets=table.texts("targets"),
        safe_flags=table.texts("safe_flags"),
        job_mib=table.whole("job_mib", default=0),
        room_mib=table.whole("room_mib", default=0),
    )
    table.close()
    return build


def _setting(row: Table) -> Setting:
    made = Setting(
        name=row.text("name", r"[A-Z][A-Za-z0-9_]*"),
        value=row.text("value", r".+"),
        why=row.text("why", r".+"),
        when=_when(row),
    )
    row.close()
    return made


def _need(row: Table) -> Need:
    newer = [_least(least) for least in row.rows("newer")]
    least = row.text("least", r"[0-9.]+", default="")
    made = Need(
        name=row.text("name", r".+"),
        why=row.text("why", r".+"),
        programs=row.texts("programs"),
        places=row.texts("places"),
        files=row.texts("files"),
        ask=row.texts("ask"),
        version=_pattern(row, "version"),
        least=(*newer, Least(least, "", When())) if least else tuple(newer),
        install=row.pairs("install"),
        when=_when(row),
    )
    row.close()
    if bool(made.programs) == bool(made.files):
        raise row.wrong("it is either `programs` or `files`")
    if made.least and not (made.ask and made.version):
        raise row.wrong("`least` needs `ask` and `version`")
    return made


def _least(row: Table) -> Least:
    made = Least(row.text("least", r"[0-9.]+"), row.text("why", r".+"), _when(row))
    row.close()
    return made


def _when(row: Table) -> When:
    return When(
        devices=_pattern(row, "devices"),
        platform=row.text("platform", "|".join(Platform), default=""),
        os=row.text("os", r"linux|macos|windows", default=""),
    )


def _pattern(row: Table, key: str) -> str:
    text = row.text(key, default="")
    try:
        re.compile(text)
    except re.error as error:
        raise row.wrong(f"`{key}` is no pattern: {error}") from error
    return text
