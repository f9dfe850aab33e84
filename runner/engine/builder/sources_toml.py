"""`builds/sources.toml`: where engines come from, as data."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Final

from runner.base.errors import BadFile
from runner.base.paths import shipped
from runner.base.tables import REINSTALL, Table
from runner.machine.facts import Backend, Machine, Platform
from runner.net.packages import Package

_WHAT: Final = "the list of engine sources"


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository: its address, and the branch or tag in it. `moves`: it is a branch."""

    name: str
    url: str
    ref: str
    moves: bool


@dataclass(frozen=True, slots=True)
class Carried:
    """A source inside a Python package: in `folder` of its archive. `commit`: empty if unknown."""

    name: str
    package: Package
    folder: str
    commit: str


Source = Repository | Carried


@dataclass(frozen=True, slots=True)
class ArchiveRow:
    """An archive that a release may have, and the machines that it is for."""

    os: str
    arch: str
    backend: Backend
    platform: str  # empty: any
    part: str
    beside: bool

    def fits(self, machine: Machine) -> bool:
        """Whether it is for this machine."""
        return (
            (self.os, self.arch, self.backend) == (machine.os, machine.arch, machine.backend)
        ) and self.platform in {"", machine.platform.value}


@dataclass(frozen=True, slots=True)
class Release:
    """A place with archives that others built. `name` and `beside`: patterns with {part}."""

    source: str
    repo: str
    name: str
    beside: str
    engine: str
    rows: tuple[ArchiveRow, ...]


@cache
def sources() -> dict[str, Source]:
    """Return the sources by name. Raises `BadFile` where the shipped data is damaged."""
    return {name: _source(name, table) for name, table in _load().tables("source").items()}


@cache
def releases() -> dict[str, Release]:
    """Return the releases by name, the preferred first. Raises `BadFile` as `sources` does."""
    return {name: _release(name, table) for name, table in _load().tables("release").items()}


def _load() -> Table:
    path = shipped("builds") / "sources.toml"
    try:
        return Table(tomllib.loads(path.read_text("utf-8")), path.name, _WHAT)
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read.", why=str(error), next=REINSTALL) from error


def _source(name: str, table: Table) -> Source:
    url = table.text("git", r"https://\S+\.git", default="")
    made: Source
    if url:
        branch = table.text("branch", r"[\w./-]+", default="")
        tag = table.text("tag", r"[\w./-]+", default="")
        if bool(branch) == bool(tag):
            raise table.wrong("it is either a `branch` or a `tag`")
        made = Repository(name, url, branch or tag, moves=bool(branch))
    else:
        package = Package(
            table.text("package", r"[\w.-]+"),
            table.text("version", r"[\w.]+"),
            table.whole("bytes"),
            table.text("sha256", r"[0-9a-f]{64}"),
            source=True,
        )
        folder = table.text("folder", r"[\w.-]+(/[\w.-]+)*")
        made = Carried(name, package, folder, table.text("commit", r"[0-9a-f]{40}", default=""))
    table.close()
    return made


def _release(name: str, table: Table) -> Release:
    made = Release(
        name,
        table.text("repo", r"[\w.-]+/[\w.-]+"),
        table.text("name", r".*\{part\}.*"),
        table.text("beside", r".*\{part\}.*", default=""),
        table.text("engine", r".*\{build\}.*"),
        tuple(_row(row) for row in table.rows("rows")),
    )
    table.close()
    for row in made.rows:
        try:
            if "build" not in re.compile(made.name.replace("{part}", row.part)).groupindex:
                raise table.wrong("`name` has no group `build`")
        except re.error as error:
            raise table.wrong(f"{row.part!r} is no pattern: {error}") from error
    return made


def _row(row: Table) -> ArchiveRow:
    made = ArchiveRow(
        row.text("os", r"linux|macos|windows"),
        row.text("arch", r"x86_64|arm64"),
        Backend(row.text("backend", "|".join(Backend))),
        row.text("platform", "|".join(Platform), default=""),
        row.text("part", r".+"),
        row.flag("beside", default=False),
    )
    row.close()
    return made
