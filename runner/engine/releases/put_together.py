"""Makes an engine of downloaded archives: unpacks them, inspects them, installs the result."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from runner.base.disk import check_room
from runner.base.errors import BadFile
from runner.base.progress import OnProgress, Phase, Progress
from runner.engine.installed import store
from runner.engine.installed.describe import describe
from runner.engine.installed.stamp import Kind, Origin, Stamp
from runner.engine.releases import archive as archives
from runner.machine.facts import Backend

_UNPACKED = 4  # times an archive's length: what is asked of the disk before it is unpacked


def put_together(
    name: str, backend: Backend, origin: Origin, files: list[Path], report: OnProgress
) -> store.InstalledEngine:
    """Unpack the archives into one folder, ask what is in it, and give it its place."""
    work = store.work_dir()
    check_room(work, _UNPACKED * sum(file.stat().st_size for file in files))
    made = store.new_folder()
    try:
        archives.unpack(files[0], made, progress=report)
        program, words = _program(made, files[0].name)
        for more in files[1:]:
            _add_beside(program.parent, more, report)
        report(Progress(Phase.INSPECTING))
        found = describe([str(program), *words])
        stamp = Stamp(
            name=name,
            kind=Kind.SERVER,
            backend=backend,
            origin=replace(origin, commit=found.commit),
            program=(program.relative_to(made).as_posix(), *words),
        )
        return store.add(made, found.complete(stamp))
    finally:
        shutil.rmtree(made, ignore_errors=True)  # moved to its place where all went well


def _program(folder: Path, archive: str) -> tuple[Path, tuple[str, ...]]:
    """Return the server in a folder and the words that make it serve.

    It is fit to be started: some zips keep no rights. Where there is no llama-server, the single
    program `llama` is taken, which llama.app installs.
    """
    end = ".exe" if os.name == "nt" else ""
    found: list[Path] = []
    words: tuple[str, ...] = ()
    for name, words in (("llama-server", ()), ("llama", ("serve",))):  # noqa: B007 - those of the found one
        found = sorted(folder.rglob(name + end), key=lambda path: len(path.parts))
        found = [path for path in found if path.is_file() and not path.is_symlink()]
        if found:
            break
    if not found:
        raise BadFile(
            f"{archive} does not contain an engine.",
            why=f"It has no llama-server{end}, and no llama{end}.",
            next="Build one instead: steprun engine build",
        )
    for tool in (found[0], *found[0].parent.glob("llama-*")):
        if tool.suffix in {"", ".exe"} and tool.is_file() and not tool.is_symlink():
            tool.chmod(0o755)
    return found[0], words


def _add_beside(place: Path, archive: Path, report: OnProgress) -> None:
    """Unpack the libraries that an engine looks for in its own folder."""
    apart = store.new_folder()
    try:
        archives.unpack(archive, apart, progress=report)
        for path in sorted(apart.rglob("*")):
            to = place / path.name
            # A link was checked where it lay; elsewhere it might lead out.
            if path.is_symlink() and path.readlink().name != str(path.readlink()):
                continue
            if not (path.is_dir() and not path.is_symlink()) and not os.path.lexists(to):
                path.rename(to)
    finally:
        shutil.rmtree(apart, ignore_errors=True)
