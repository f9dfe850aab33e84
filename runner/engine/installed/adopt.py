"""Takes an engine that is on this disk already: a llama-server, or llama.app's single program.

Nothing is copied: the engine stays where it lies, and is tested again when its files change.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base.errors import BadFile, Refused, UsageError
from runner.engine.installed import store
from runner.engine.installed.describe import describe
from runner.engine.installed.stamp import ADOPTED, Kind, Origin, Stamp
from runner.machine.facts import Backend

_SUFFIX: Final = ".exe" if os.name == "nt" else ""
SERVER: Final = f"llama-server{_SUFFIX}"
# llama.app installs one program; `llama serve` is its server.
SINGLE: Final = f"llama{_SUFFIX}"
# Where a build, an archive or a package puts its programs, below the folder that one names.
_PLACES: Final = (".", "bin", "build/bin", "build/bin/Release", "Contents/MacOS")
_DEPTH: Final = 4
_ENTRIES: Final = 20_000  # of a folder that is searched: a whole disk is not
# What an engine calls its devices, as `--list-devices` prints them.
_DEVICES: Final = {
    "CUDA": Backend.CUDA,
    "ROCm": Backend.ROCM,
    "HIP": Backend.ROCM,
    "Vulkan": Backend.VULKAN,
    "MTL": Backend.METAL,
    "Metal": Backend.METAL,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A program that may be an engine: how it is started."""

    program: tuple[str, ...]


def adopt(path: Path, backend: Backend | None = None) -> store.InstalledEngine:
    """Take the engine at a path, or in a folder; its self-test is the caller's.

    `backend`: what it computes with, where its devices do not tell. Raises UsageError (nothing
    there, or several), Refused (it does not start) or BadFile (it is no llama.cpp server).
    """
    program = find(path).program
    for engine in store.engines():
        if engine.stamp.adopted and engine.stamp.program == program:
            return engine
        if not engine.stamp.adopted and Path(program[0]).resolve().is_relative_to(
            engine.folder.resolve()
        ):
            raise UsageError(
                f"{program[0]} is an engine of steprun's own: {engine.name}.",
                why="It is installed already, and is removed with its folder.",
                next=f"steprun engine use {engine.name}",
            )
    described = describe(program)
    if "--port" not in described.flags:
        raise BadFile(
            f"{program[0]} is not a llama-server.",
            why="Its --help lists --model but no --port: it is another of llama.cpp's programs.",
            next=f"Name the {SERVER} beside it.",
        )
    backend = backend or backend_of(described.devices)
    build = re.search(r"\b(\d{3,6})\b", described.version)
    stamp = Stamp(
        name="-".join(filter(None, (backend, ADOPTED, f"b{build[1]}" if build else ""))),
        kind=Kind.SERVER,
        backend=backend,
        origin=Origin(ADOPTED, program[0], f"b{build[1]}" if build else "", described.commit),
        program=program,
    )
    made = store.new_folder()
    try:
        return store.add(made, described.complete(stamp))
    finally:
        shutil.rmtree(made, ignore_errors=True)  # moved to its place where all went well


def backend_of(devices: tuple[str, ...]) -> Backend:
    """Return what an engine computes with, from its own list of devices."""
    for device in devices:
        for name, backend in _DEVICES.items():
            if device.startswith(name):
                return backend
    return Backend.CPU


def find(path: Path) -> Found:
    """Return the engine that a path names; see `adopt` for what it raises."""
    path = path.expanduser().absolute()
    if path.is_symlink() and not path.exists():
        raise UsageError(
            f"{path} is a link that leads nowhere.",
            why=f"{path.readlink()} does not exist; the engine was removed or moved.",
            next="Name the engine itself: steprun engine adopt PATH",
        )
    if path.is_dir():
        return _started(_only(path, list(_below(path))))
    if not path.is_file():
        missing = not path.exists()
        raise UsageError(
            f"There is no {path}." if missing else f"{path} is not an engine.",
            why="Nothing has that name." if missing else "It is neither a program nor a folder.",
            next=_example(),
        )
    return _started(path)


def on_path() -> Path | None:
    """Return an engine that is installed for all programs to find; None where there is none."""
    found = shutil.which("llama-server") or shutil.which("llama")
    return Path(found) if found else None


def _started(path: Path) -> Found:
    if os.name == "posix" and not os.access(path, os.X_OK):
        raise Refused(
            f"{path} cannot be started.",
            why="It is not executable.",
            next="If it is an engine, run chmod +x on it and try again.",
        )
    serve = ("serve",) if path.name == SINGLE else ()
    return Found((str(path), *serve))


def _below(folder: Path) -> Iterator[Path]:
    """Yield the engines in a folder: where they are expected, else wherever they lie."""
    for name in (SERVER, SINGLE):
        usual = [folder / place / name for place in _PLACES]
        if found := [path for path in usual if path.is_file()]:
            yield from found
            return
    seen, found = 0, []
    for at, folders, names in os.walk(folder):
        seen += len(names) + len(folders)
        if len(Path(at).relative_to(folder).parts) >= _DEPTH or seen > _ENTRIES:
            folders.clear()
        found += [Path(at, name) for name in (SERVER, SINGLE) if name in names]
    servers = [path for path in found if path.name == SERVER]
    yield from (path for path in servers or found if path.is_file())


def _only(folder: Path, found: list[Path]) -> Path:
    different = {path.resolve(): path for path in reversed(found)}
    if len(different) == 1:
        return found[0]
    if not different:
        raise UsageError(
            f"{folder} does not contain an engine.",
            why=f"It has no {SERVER} and no {SINGLE}.",
            next=_example(),
        )
    raise UsageError(
        f"{folder} contains several engines.",
        why=", ".join(str(path) for path in found[:6]) + ".",
        next="Name one of them: steprun engine adopt PATH",
    )


def _example() -> str:
    here = on_path()
    if here is not None:
        return f"steprun engine adopt {here}"
    return "Name a llama-server, or build one: steprun engine build"
