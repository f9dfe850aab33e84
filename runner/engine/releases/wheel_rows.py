"""`builds/wheels.toml`: which wheel of xllamacpp a machine can run, as data."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final

from msgspec import Meta
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from runner.base.paths import shipped
from runner.base.toml import Strict, matching, read_toml
from runner.engine.releases.wheel_index import Listed
from runner.machine.facts import Backend, Machine, Platform

_FILE: Final = "wheels.toml"
_Number = Annotated[str, matching(r"[0-9]+\.[0-9]+")]


class Variant(Strict, frozen=True):
    """A kind of wheel, and what a machine needs for it; see the file's own comments."""

    name: Annotated[str, matching(r"[a-z0-9][a-z0-9.-]*")]
    backend: Backend
    systems: tuple[Annotated[str, matching(r"(linux|macos|windows)-(x86_64|arm64)")], ...]
    glibc: _Number | None = None
    version: _Number | None = None
    native: tuple[_Number, ...] = ()
    compiled_from: _Number | None = None
    gfx: tuple[Annotated[str, matching(r"gfx[0-9a-f]+")], ...] = ()
    library: str = ""
    folders: tuple[str, ...] = ()
    first: tuple[Platform, ...] = ()
    note: str = ""
    index: Annotated[str, matching(r"(https://\S+[^/])?")] = ""


class _Document(Strict, frozen=True):
    index: Annotated[str, matching(r"https://\S+[^/]")]
    package: Annotated[str, matching(r"[a-z0-9-]+")]
    variant: Annotated[tuple[Variant, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Here:
    """What a machine has beside its `Machine` facts; empty where it is not known.

    `glibc`: of this system. `capabilities`: of the NVIDIA chips, such as 12.1. `cuda`: the version
    that the driver knows. `gfx`: names of the AMD chips. `libraries`: those of `Variant.library`
    that are installed.
    """

    glibc: str = ""
    capabilities: tuple[str, ...] = ()
    cuda: str = ""
    gfx: tuple[str, ...] = ()
    libraries: Collection[str] = ()


@cache
def document() -> _Document:
    """Return the shipped file. Raises `BadFile` where it is damaged."""
    return read_toml(shipped("builds") / _FILE, _Document, "The list of wheels")


def misfit(variant: Variant, machine: Machine, here: Here) -> str:
    """Return why a machine cannot use a wheel, in one sentence; empty where it can."""
    if variant.backend is not machine.backend:
        return f"It computes with {variant.backend}."
    if f"{machine.os}-{machine.arch}" not in variant.systems:
        return f"There is none for {machine.os} on {machine.arch}."
    if variant.glibc and machine.os == "linux" and _less(here.glibc or "0.0", variant.glibc):
        return f"It needs glibc {variant.glibc}, and here is {here.glibc or 'another C library'}."
    if variant.library and variant.library not in here.libraries:
        return f"It needs {variant.library}, which was not found."
    if variant.gfx and (lacking := [chip for chip in here.gfx if chip not in variant.gfx]):
        return f"It has no code for {', '.join(lacking)}."
    return _cuda_misfit(variant, here)


def _cuda_misfit(variant: Variant, here: Here) -> str:
    if not variant.version:
        return ""
    for chip in here.capabilities:
        native = chip in variant.native
        if not native and (not variant.compiled_from or _less(chip, variant.compiled_from)):
            return f"It has no code for compute capability {chip}."
        # Code of a major version runs with every driver of it; to compile, all of it must be known.
        least = f"{variant.version.partition('.')[0]}.0" if native else variant.version
        if here.cuda and _less(here.cuda, least):
            return f"It needs a driver for CUDA {least}, and here is one for {here.cuda}."
        # A chip that two variants could run takes the one with machine code for it.
        if not native and any(
            chip in other.native and not (here.cuda and _less(here.cuda, _base(other)))
            for other in document().variant
        ):
            return f"It has no machine code for compute capability {chip}, and another one has."
    return ""


def _base(variant: Variant) -> str:
    return f"{(variant.version or '0').partition('.')[0]}.0"


def _less(first: str, second: str) -> bool:
    return Version(first) < Version(second)


def best(
    listed: Iterable[Listed], package: str, tags: Iterable[Tag], version: str = ""
) -> tuple[Listed, str] | None:
    """Return the newest wheel that this Python can load, and its version; None without any.

    `tags`: what this Python can load, the best first. `version`: that one only.
    """
    order = {tag: place for place, tag in enumerate(tags)}
    found: list[tuple[Version, int, Listed]] = []
    for each in listed:
        try:
            name, number, _, its = parse_wheel_filename(each.name)
        except (InvalidWheelFilename, ValueError):
            continue
        places = [order[tag] for tag in its if tag in order]
        if name == package and places and not (version and str(number) != version):
            found.append((number, -min(places), each))
    stable = [row for row in found if not row[0].is_prerelease] or found
    if not stable:
        return None
    number, _, each = max(stable, key=lambda row: row[:2])
    return each, str(number)
