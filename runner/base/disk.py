"""Free disk space, folders that cannot be written to, and locks between steprun processes."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from runner.base import paths
from runner.base.errors import Refused
from runner.base.units import size

MARGIN_BYTES = 64 << 20  # left free on the disk
# Errors of a disk that was pulled out or fails; not every system has all of them.
_DISK_GONE = {getattr(errno, name, errno.EIO) for name in ("EIO", "ENODEV", "ENXIO", "ESTALE")}
_NOT_WRITABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST),
    getattr(errno, "ENOTSUP", errno.EPERM),  # macOS, of a folder in /home
}


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest of its parents that exists."""
    # Path.exists raises below a folder that this user may not enter (Python < 3.14).
    return next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110


def check_room(folder: Path, need: int) -> None:
    """Raise `Refused` where the disk of `folder` lacks room for `need` bytes and a margin."""
    need += MARGIN_BYTES
    free = shutil.disk_usage(folder).free
    if free < need:
        raise _no_room(folder, f"{size(need)} needed, {size(free)} free.")


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn the system's error about a folder that cannot be written to into a `Refused`."""
    try:
        yield
    except OSError as error:
        at = error.filename2 or error.filename
        # Of a folder that could not be made, the system names the topmost part that is missing.
        if isinstance(at, str) and not (Path(at).is_relative_to(folder) or _above(at, folder)):
            folder = Path(at).parent
        if error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}:
            raise _no_room(folder, f"{error.strerror}.") from error
        never_made = error.errno == errno.ENOENT and isinstance(at, str) and _above(at, folder)
        if error.errno in _NOT_WRITABLE or never_made:
            raise Refused(
                f"steprun cannot write to {folder}.",
                why=f"{error.strerror}.",
                next=f"Make it writable, or set {_variable(folder)} to a folder that is: "
                "STEPRUN_HOME moves steprun's own files, HF_HOME the weights.",
            ) from error
        if error.errno in _DISK_GONE:
            raise Refused(
                f"The disk that holds {folder} cannot be read or written any more.",
                why=f"{error.strerror}.",
                next="Check that it is connected and healthy; then run the same command again.",
            ) from error
        raise


def _above(at: str, folder: Path) -> bool:
    return folder.is_relative_to(at) and not os.path.exists(folder)  # noqa: PTH110 - as in `existing`


@contextlib.contextmanager
def alone(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file; `waiting` is called once where another steprun holds it."""
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        waiting()
        held.acquire()
    try:
        yield
    finally:
        held.release()


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _no_room(folder: Path, why: str) -> Refused:
    return Refused(
        f"The disk that holds {folder} is too full.",
        why=why,
        next=f"Free some space, or set {_variable(folder)} to a folder on another disk.",
    )


def _variable(folder: Path) -> str:
    """Return the variable that moves a folder; all folders but steprun's own are the hub's."""
    own = (paths.cache_dir(), paths.data_dir(), paths.config_dir(), paths.state_dir())
    return "STEPRUN_HOME" if any(map(folder.is_relative_to, own)) else "HF_HOME"
