"""Room on the disk, folders that cannot be written, and one run at a time in a folder."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from runner.base import paths
from runner.base.errors import Refused

MARGIN_BYTES = 64 << 20  # left free on the disk
# What a system says of a disk that was pulled out or fails; not every system has all of them.
_DISK_GONE = {getattr(errno, name, errno.EIO) for name in ("EIO", "ENODEV", "ENXIO", "ESTALE")}


def size(count: int) -> str:
    """Return a size for people, in decimal units as the hub shows them."""
    value, unit = (count / 1e9, "GB") if count >= 1e9 else (count / 1e6, "MB")
    return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"


def check_room(folder: Path, need: int) -> None:
    """Raise `Refused` where the disk of `folder` has not `need` bytes and a margin."""
    need += MARGIN_BYTES
    free = shutil.disk_usage(folder).free
    if free < need:
        raise _no_room(folder, f"{size(need)} are needed, {size(free)} are free.")


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder that cannot be written into a `Refused`."""
    try:
        yield
    except OSError as error:
        at = error.filename2 or error.filename
        if isinstance(at, str) and not Path(at).is_relative_to(folder):
            folder = Path(at).parent
        if error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}:
            raise _no_room(folder, f"{error.strerror}.") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise Refused(
                f"steprun cannot write to {folder}",
                why=f"{error.strerror}.",
                next=f"Make it writable for you, or set {_variable(folder)} to a folder that is.",
            ) from error
        if error.errno in _DISK_GONE:
            raise Refused(
                f"the disk that holds {folder} cannot be read or written any more",
                why=f"{error.strerror}.",
                next="See whether it is still there and sound; then the same command again.",
            ) from error
        raise


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
    """Make a rename last through a power cut; Windows has no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _no_room(folder: Path, why: str) -> Refused:
    return Refused(
        f"the disk that holds {folder} is too full",
        why=why,
        next=f"Free some space, or set {_variable(folder)} to a folder on another disk.",
    )


def _variable(folder: Path) -> str:
    """Return what moves a folder to another place: all but our own are the hub's."""
    own = (paths.cache_dir(), paths.data_dir(), paths.config_dir(), paths.state_dir())
    return "STEPRUN_HOME" if any(map(folder.is_relative_to, own)) else "HF_HOME"
