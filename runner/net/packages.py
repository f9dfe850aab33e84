"""Python packages as archives: downloaded by pip, and not installed.

pip runs in a child process, because it knows the user's mirrors, proxies and certificates.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.progress import OnProgress, Phase, Progress

_POLL_S = 0.1
LISTED = "requirements.txt"
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


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package, as one archive: a wheel, or its `source`.

    `bytes`: the length of the archive. `sha256`: of the archive; a source must have one, and pip
    checks it before it opens the archive.
    """

    name: str
    version: str
    bytes: int
    sha256: str = ""
    source: bool = False


def download(package: Package, work: Path, report: OnProgress) -> Path:
    """Have pip download a package into the empty folder `work`; return the path of its archive.

    Raises Refused (no pip), BadFile (not what was published) or SteprunError (no network, no such
    version). On any exception, KeyboardInterrupt included, pip and what it started are stopped.
    """
    got = work / "got"
    temporary = work / "tmp"  # pip's own, so that what a killed pip leaves is ours to clean
    got.mkdir(parents=True)
    temporary.mkdir()
    log = work / "pip.log"
    argv = download_command(package, work)
    if package.source:
        (work / LISTED).write_text(f"{requirement(package)}\n", "utf-8")
    env = os.environ | {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
    found: Path | None = None
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
            while process.poll() is None and found is None:
                report(Progress(Phase.DOWNLOADING, _largest(work), package.bytes))
                # Once it has a source, pip would download all that its build needs, and run the
                # package's own code for its metadata. That takes minutes; it is stopped here.
                found = _whole(work, package) if package.source else None
                time.sleep(_POLL_S)
        finally:
            _stop(process)
    if package.source:
        found = found or _whole(work, package)
    elif not process.returncode:
        found = next(got.iterdir(), None)
    if found is None:
        raise _failed(package, log.read_text(encoding="utf-8", errors="replace"))
    report(Progress(Phase.DOWNLOADING, package.bytes, package.bytes))
    return found


def download_command(package: Package, work: Path) -> list[str]:
    """Return the command that downloads a package into `work`.

    For a source it reads `work/requirements.txt`, which holds `requirement(package)`: pip takes a
    sha256 from a file only.
    """
    which = [f"--no-binary={package.name}", "--require-hashes", "-r", str(work / LISTED)]
    return [
        *pip(),
        # The warnings about retries are all that pip says of an index that it cannot reach.
        "--retries=3",
        *("download", "--no-deps", "--no-cache-dir", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar=off", "--no-color"),
        *("--dest", str(work / "got")),
        *(which if package.source else ["--only-binary=:all:", requirement(package)]),
    ]


def requirement(package: Package) -> str:
    """Return a package as pip's requirement, a source with its sha256."""
    pinned = f" --hash=sha256:{package.sha256}" if package.source else ""
    return f"{package.name}=={package.version}{pinned}"


def pip() -> list[str]:
    """Return a command that runs pip: an installed one, the one bundled with Python, or uv's."""
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
        "The Python package cannot be downloaded.",
        why="pip is not installed.",
        next=f"Install pip: {sys.executable} -m ensurepip (or your system's python3-pip).",
    )


def _whole(work: Path, package: Package) -> Path | None:
    """Return the package's archive once it is complete, copied to where pip does not clean."""
    for path, size in _files(work):
        if size == package.bytes:
            kept = work / path.name
            with contextlib.suppress(OSError):
                shutil.copyfile(path, kept)
                with kept.open("rb") as stream:
                    if hashlib.file_digest(stream, "sha256").hexdigest() == package.sha256:
                        return kept
            kept.unlink(missing_ok=True)
    return None


def _largest(work: Path) -> int:
    """Return how many bytes have been downloaded: pip writes the archive once, then copies it."""
    return max((size for _, size in _files(work)), default=0)


def _files(work: Path) -> Iterator[tuple[Path, int]]:
    for folder, _, names in os.walk(work):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):  # pip moves files while we look
                yield path, path.stat().st_size


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End pip if it still runs, and what it started, and wait until they have ended.

    None of them may write into our folder later.
    """
    if process.poll() is not None:
        return
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failed(package: Package, log: str) -> SteprunError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = (
        [line for line in lines if line.startswith("ERROR:")]
        or lines[-3:]
        or ["pip printed nothing."]
    )
    what = f"The Python package {package.name} {package.version} could not be downloaded."
    if "DO NOT MATCH THE HASHES" in log or (package.source and "Successfully downloaded" in log):
        return BadFile(
            f"The Python package {package.name} {package.version} is not what was published.",
            why=f"Its sha256 should be {package.sha256}.",
            next="Try again; if it happens again, contact the operator of your package index.",
        )
    # When nothing answers, pip ends with "no such version": look at everything it printed.
    if any(word in log.lower() for word in _UNREACHABLE):
        return SteprunError(
            what,
            why=f"The package index was not reached. {errors[-1]}",
            next="Check the network or the proxy (HTTPS_PROXY), or set PIP_INDEX_URL to a mirror.",
        )
    return SteprunError(
        what,
        why=" ".join(errors[-2:]),
        next="Check the package index in use (pip config list).",
    )
