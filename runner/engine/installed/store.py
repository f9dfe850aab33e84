"""The engines on this disk: one folder each, listed only when whole; which one is current.

Under `engines/` in the cache: `NAME/stamp.json` beside `NAME/bin/...`; `current.json` names the
engine that `chat` and `serve` take, and the one before it. Whatever is being made has a name that
begins with a dot, and gets its real one, by a rename, when everything in it is there.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from runner.base import paths
from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.files import cannot_write, listed, make_private_dir, write_private
from runner.base.state import JsonState
from runner.engine.installed import stamp as stamps
from runner.engine.installed.stamp import Kind, Origin, Stamp
from runner.engine.process.flags import FLAGS
from runner.machine.facts import Backend

STAMP: Final = "stamp.json"
EMBEDDED: Final = "embedded"
# The embedded engines that steprun was tested with, as pyproject.toml has it: a newer one may be
# installed all the same, and has another llama.cpp in it.
TESTED: Final = "~=2026.10.11549"
LEFT_S: Final = 24 * 3600.0  # half-made engines of others; no build takes that long
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._+-]{0,79}")


@dataclass(frozen=True, slots=True)
class InstalledEngine:
    """An engine that can be started: its stamp, and the folder that it lies in."""

    stamp: Stamp
    folder: Path

    @property
    def name(self) -> str:
        """Its name, as `--engine` takes it."""
        return self.stamp.name

    @property
    def program(self) -> tuple[str, ...]:
        """What to start, up to its flags."""
        first, *rest = self.stamp.program
        return (str(self.folder / first), *rest)

    def tool(self, name: str) -> Path | None:
        """Return another program of the same build (`llama-batched-bench`), where it has one."""
        path = Path(self.program[0]).with_name(name + (".exe" if os.name == "nt" else ""))
        return path if self.stamp.kind is Kind.SERVER and path.is_file() else None


@dataclass(frozen=True, slots=True)
class Current:
    """Which engine is in use, and which was before it; empty if unknown."""

    name: str = ""
    previous: str = ""


def folder() -> Path:
    """Return the folder of all engines."""
    return paths.cache_dir() / "engines"


_CURRENT: Final = JsonState(lambda: folder() / "current.json", Current, Current)


def work_dir() -> Path:
    """Return the folder of what is half-made; made where it is missing."""
    return make_private_dir(folder() / ".work")


# --- the installed ones


def embedded() -> InstalledEngine:
    """Return the engine of the `xllamacpp` wheel, with what its canary found, if it was asked."""
    try:
        wheel = version("xllamacpp")
    except PackageNotFoundError:
        wheel = ""
    plain = Stamp(
        name=EMBEDDED,
        kind=Kind.EMBEDDED,
        backend=Backend.METAL if sys.platform == "darwin" else Backend.CPU,
        origin=Origin(EMBEDDED, "xllamacpp", wheel),
        # -P: a folder named `runner` where the user happens to be must not be taken for ours.
        program=(sys.executable, "-P", "-m", "runner.engine.process.embedded"),
        version=wheel,
        flags=frozenset(FLAGS) | {"--list-devices"},
    )
    kept = _read(folder() / EMBEDDED)
    # Of another wheel, or of another Python's: what was found then says nothing of this one.
    if kept is not None and kept.stamp.origin == plain.origin:
        plain = plain.with_results(kept.stamp.features, kept.stamp.safe_flags)
    return InstalledEngine(plain, folder() / EMBEDDED)


def as_tested(engine: InstalledEngine) -> bool:
    """Whether an embedded engine is of a version that steprun was tested with."""
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - 10 ms, only to plan or start

    found = engine.stamp.origin.version
    return bool(found) and SpecifierSet(TESTED).contains(found, prereleases=True)


def check_tested(engine: InstalledEngine) -> None:
    """Raise `Refused` for an embedded engine of another version than the tested ones.

    One that has passed its own canary is as good.
    """
    found = engine.stamp.origin.version
    if engine.name != EMBEDDED or not found or engine.stamp.passed:
        return
    if not as_tested(engine):
        raise Refused(
            f"The embedded engine, xllamacpp {found}, has not passed its self-test.",
            why=f"This steprun was tested with xllamacpp {TESTED}.",
            next=f"Test it once, which takes a minute: steprun engine test {EMBEDDED}",
        )


def engines() -> list[InstalledEngine]:
    """Return every engine that is whole, the embedded one first, then by name."""
    found = [_read(path) for path in listed(folder()) if path.name != EMBEDDED]
    return [embedded(), *(engine for engine in found if engine is not None)]


def find_engine(name: str) -> InstalledEngine:
    """Return one engine. Raises `UsageError` where none has that name."""
    installed = engines()
    for engine in installed:
        if engine.name == name:
            return engine
    raise UsageError(
        f"There is no engine {name!r}.",
        why=f"Installed engines: {', '.join(engine.name for engine in installed)}.",
        next="List them: steprun engine list - or build one: steprun engine build",
    )


def _read(path: Path) -> InstalledEngine | None:
    """Return the engine in a folder; None where anything of it is missing."""
    # Path.is_dir raises in a home that may not be entered (Python < 3.14).
    if path.name.startswith(".") or not os.path.isdir(path):  # noqa: PTH112
        return None
    try:
        stamp = stamps.from_json((path / STAMP).read_bytes())
    except (OSError, ValueError):
        return None
    engine = InstalledEngine(stamp, path)
    if stamp.adopted:
        if stamp.tested and stamp.content != content(engine.program[0]):
            # Another file than the one that was tested: what was found says nothing of this one.
            engine = InstalledEngine(replace(stamp, features={}, safe_flags=()), path)
        return engine if stamp.name == path.name else None
    whole = stamp.kind is Kind.EMBEDDED or Path(engine.program[0]).is_file()
    return engine if stamp.name == path.name and whole else None


# --- adding, changing, removing


def new_folder() -> Path:
    """Return an empty folder to put an engine together in; `add` gives it its place."""
    for left in (*work_dir().glob("new-*"), *work_dir().glob("old-*")):
        # Of a run that was killed. A folder of today may still be somebody's.
        if time.time() - left.stat().st_mtime > LEFT_S:
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="new-", dir=work_dir()))


def add(made: Path, stamp: Stamp) -> InstalledEngine:
    """Give a finished folder its place and name, whole or not at all.

    Nothing is replaced: an engine that worked stays until its owner removes it, so a taken name
    gets a number. Raises `Refused` where the disk cannot be written.
    """
    if not NAME.fullmatch(stamp.name) or stamp.name == EMBEDDED:
        raise ValueError(stamp.name)
    stamp = replace(stamp, made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    for number in itertools.count(1):
        name = stamp.name if number == 1 else f"{stamp.name[:76]}-{number}"
        place = folder() / name
        if not os.path.lexists(place):
            break
    stamp = replace(stamp, name=name)
    write_stamp(made, stamp)
    try:
        made.rename(place)
    except OSError as error:
        raise cannot_write(place, error) from error
    return InstalledEngine(stamp, place)


def write_stamp(place: Path, stamp: Stamp) -> None:
    """Write an engine's stamp into its folder."""
    write_private(place / STAMP, json.dumps(stamps.to_json(stamp), indent=1) + "\n")


def update(engine: InstalledEngine, stamp: Stamp) -> InstalledEngine:
    """Write an engine's new stamp, and return the engine with it."""
    if stamp.kind is not Kind.EMBEDDED and not engine.folder.is_dir():
        raise SteprunError(
            f"The engine {engine.name} is no longer installed.",
            why=f"Its folder {engine.folder} was removed meanwhile.",
            next="Build it again: steprun engine build",
        )
    write_stamp(engine.folder, stamp)
    return InstalledEngine(stamp, engine.folder)


def remove(engine: InstalledEngine) -> int:
    """Remove an engine; return how many bytes that frees. The embedded one stays."""
    if engine.name == EMBEDDED:
        raise UsageError(
            "The embedded engine cannot be removed.",
            why="It is part of steprun's own environment.",
            next="List the others: steprun engine list",
        )
    freed = size(engine.folder)
    aside = Path(tempfile.mkdtemp(prefix="old-", dir=work_dir()))
    try:
        engine.folder.rename(aside / engine.name)  # from here on nobody lists it
    except OSError as error:
        raise Refused(
            f"The engine {engine.name} cannot be removed.",
            why=f"{error.strerror or error}. It may be running.",
            next="Close whatever uses it, then try again.",
        ) from error
    shutil.rmtree(aside, ignore_errors=True)
    now = current()
    if engine.name in {now.name, now.previous}:
        use(now.previous if engine.name == now.name else now.name, forget=True)
    return freed


def content(program: str) -> str:
    """Return what tells an adopted engine's files from other ones; empty where it is gone.

    Names, lengths and times of the program and of llama.cpp's libraries beside it: an update by a
    package manager or a new build changes them, and none of a gigabyte of CUDA code is read.
    """
    try:
        real = Path(program).resolve(strict=True)
        beside = {
            path
            for pattern in ("*ggml*", "*llama*", "*mtmd*")
            for folder in (real.parent, real.parent.parent / "lib")
            for path in folder.glob(pattern)
            if path.is_file()
        }
        facts = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted({real, *beside})]
    except OSError:
        return ""
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "backslashreplace")).hexdigest()


def size(place: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.lstat().st_size for path in place.rglob("*") if path.is_file())


# --- the current one


def current() -> Current:
    """Return which engine is in use."""
    return _CURRENT.read()


def use(name: str, *, forget: bool = False) -> None:
    """Make an engine the current one; the one before stays known, unless it is to be forgotten."""

    def change(before: Current) -> Current:
        was = before.name or EMBEDDED  # nobody chose: then it was the embedded one
        return Current(name, "" if forget else before.previous if was == name else was)

    _CURRENT.change(change)
