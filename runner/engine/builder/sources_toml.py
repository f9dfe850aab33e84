"""`builds/sources.toml`: where engines come from, as data."""

import hashlib
import re
from functools import cache
from typing import Annotated, Final, Literal

from msgspec import Meta, field, structs

from runner.base.paths import shipped
from runner.base.toml import Strict, check_pattern, matching, read_toml
from runner.engine.installed.stamp import Origin
from runner.machine.facts import Backend, Machine, Platform
from runner.net.packages import Package

_FILE: Final = "sources.toml"
_Ref = Annotated[str, matching(r"[\w./-]+")]


class Repository(Strict, frozen=True):
    """A git repository: its address, and the branch or tag in it. `moves`: it is a branch."""

    name: str
    url: str
    ref: str
    moves: bool

    @property
    def build(self) -> int:
        """Which of llama.cpp's builds it is, where its tag says so; else 0."""
        found = re.fullmatch(r"b(\d{1,9})", self.ref)
        return int(found[1]) if found else 0

    @property
    def folder_name(self) -> str:
        """What the folder of this source is called."""
        stem = re.sub(r"[^a-z0-9.]+", "-", f"{self.name}-{self.ref}".lower())[:60].strip("-")
        which = hashlib.sha256(f"{self.url} {self.ref}".encode()).hexdigest()[:8]
        return f"src-{stem}-{which}"

    def origin(self, commit: str = "") -> Origin:
        """Return where an engine built from it came from."""
        return Origin(self.name, self.url, self.ref, commit)


class Carried(Strict, frozen=True):
    """A source inside a Python package: in `folder` of its archive.

    `commit`: empty if unknown. `build`: which of llama.cpp's builds it is, 0 if unknown.
    """

    name: str
    package: Package
    folder: str
    commit: str
    build: int = 0

    @property
    def folder_name(self) -> str:
        """What the folder of this source is called."""
        return f"src-{self.name}-{self.package.version}-{self.package.sha256[:8]}"

    def origin(self) -> Origin:
        """Return where an engine built from it came from."""
        package = self.package
        return Origin(self.name, package.name, package.version, self.commit, package.sha256)


Source = Repository | Carried


class ArchiveRow(Strict, frozen=True):
    """An archive that a release may have, and the machines that it is for."""

    os: Literal["linux", "macos", "windows"]
    arch: Literal["x86_64", "arm64"]
    backend: Backend
    part: Annotated[str, Meta(min_length=1)]
    platform: Platform | None = None
    beside: bool = False

    def fits(self, machine: Machine) -> bool:
        """Whether it is for this machine."""
        return (
            (self.os, self.arch, self.backend) == (machine.os, machine.arch, machine.backend)
        ) and self.platform in {None, machine.platform}


class Release(Strict, frozen=True):
    """Archives that others built. `name` and `beside`: patterns with {part}.

    `source`: what the release is called in the file.
    """

    repo: Annotated[str, matching(r"[\w.-]+/[\w.-]+")]
    name: Annotated[str, matching(r".*\{part\}.*")]
    engine: Annotated[str, matching(r".*\{build\}.*")]
    rows: tuple[ArchiveRow, ...]
    beside: Annotated[str, matching(r"(.*\{part\}.*)?")] = ""
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse patterns that could not be used: ValueError."""
        for row in self.rows:
            pattern = self.name.replace("{part}", row.part)
            check_pattern(pattern)
            if "(?P<build>" not in pattern:
                raise ValueError(f"{self.name!r} has no group `build`")


class _SourceEntry(Strict, frozen=True):
    """Either a git repository or a package, whose keys do not mix."""

    git: Annotated[str, matching(r"https://\S+\.git")] | None = None
    branch: _Ref | None = None
    tag: _Ref | None = None
    package: Annotated[str, matching(r"[\w.-]+")] | None = None
    version: Annotated[str, matching(r"[\w.]+")] | None = None
    bytes: Annotated[int, Meta(ge=1)] | None = None
    sha256: Annotated[str, matching(r"[0-9a-f]{64}")] | None = None
    folder: Annotated[str, matching(r"[\w.-]+(/[\w.-]+)*")] | None = None
    commit: Annotated[str, matching(r"[0-9a-f]{40}")] | None = None
    build: Annotated[int, Meta(ge=1)] | None = None

    def named(self, name: str) -> Source:
        """Return the source of that name."""
        if self.git is not None:
            ref = self.branch or self.tag or ""
            return Repository(name, self.git, ref, moves=self.branch is not None)
        package = Package(
            self.package or "", self.version or "", self.bytes or 0, self.sha256 or "", source=True
        )
        return Carried(name, package, self.folder or "", self.commit or "", self.build or 0)

    def __post_init__(self) -> None:
        """Refuse keys that do not go together: ValueError."""
        keys = {key for key in self.__struct_fields__ if getattr(self, key) is not None}
        package = {"package", "version", "bytes", "sha256", "folder"}
        optional = {"commit", "build"}
        if keys - optional not in ({"git", "branch"}, {"git", "tag"}, package) or (
            "git" in keys and keys & optional
        ):
            raise ValueError(f"`git` with a `branch` or a `tag`, or all of {sorted(package)}")


class _SourcesDocument(Strict, frozen=True):
    source: dict[str, _SourceEntry] = field(default_factory=dict)
    release: dict[str, Release] = field(default_factory=dict)


@cache
def sources() -> dict[str, Source]:
    """Return the sources by name. Raises `BadFile` where the shipped data is damaged."""
    return {name: source.named(name) for name, source in _read().source.items()}


@cache
def releases() -> dict[str, Release]:
    """Return the releases by name, the preferred first. Raises `BadFile` as `sources` does."""
    return {name: structs.replace(r, source=name) for name, r in _read().release.items()}


def _read() -> _SourcesDocument:
    return read_toml(shipped("builds") / _FILE, _SourcesDocument, "The list of engine sources")
