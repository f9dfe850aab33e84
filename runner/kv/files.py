"""The files of saved caches: what is looked at, checked, hashed and removed on the disk."""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Final

KEY: Final = re.compile(r"[0-9a-f]{32}")
ID: Final = re.compile(r"[0-9a-f]{16}")
_NAME: Final = re.compile(r"([0-9a-f]{16})\.(?:kv|new)")
# Entries of a folder that a start looks at: listing 100,000 takes about 0.1 s. The rest is left
# alone; a file that is not in the index is given to no engine.
LOOK_AT_MOST: Final = 200_000


class NotWhole(Exception):  # noqa: N818 - not a fault
    """A file is missing, or is not what was saved. The text says which, in a sentence."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes with a file's content."""

    inode: int
    bytes: int
    written_ns: int
    changed_ns: int


def saved_name(file_id: str) -> str:
    """Return the name of a finished file."""
    return f"{file_id}.kv"


def new_name(file_id: str) -> str:
    """Return the name under which an engine writes a file."""
    return f"{file_id}.new"


@contextlib.contextmanager
def opened(path: Path, *, write: bool = False) -> Iterator[FileIO]:
    """Open a regular file that has this name only. Raises `NotWhole` where it is anything else.

    Neither a link is followed nor a pipe waited for.
    """
    flags = os.O_RDWR if write else os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        raise NotWhole("The file is missing.") from None
    except OSError as error:
        if path.is_symlink() or not path.is_file():
            raise NotWhole("It is not a regular file.") from None
        raise error from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(handle)
        raise NotWhole("It is not a regular file with one name.")
    with FileIO(handle, "r+" if write else "r") as file:
        yield file


def state_of(file: FileIO) -> FileState:
    """Return the state of an open file."""
    found = os.fstat(file.fileno())
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def digest(file: FileIO) -> bytes:
    """Return the SHA-256 of an open file."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").digest()


def leave_memory(file: FileIO) -> None:
    """Let the system forget a file's pages: on shared memory, a GPU counts them as used."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_private(path: Path, file: FileIO) -> None:
    """Make an open file readable for this user only."""
    if hasattr(os, "fchmod"):
        os.fchmod(file.fileno(), 0o600)
    else:
        path.chmod(0o600)


def remove(path: Path) -> bool:
    """Remove a file; return whether it is gone. What is no file stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def is_real_folder(path: Path) -> bool:
    """Return whether a path is a folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def found_files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the key, ID and path of each file below a store's folder that is named as one of its.

    Anything else that lies there is left alone.
    """
    for key, name in islice(_below(folder), LOOK_AT_MOST):
        if key and (match := _NAME.fullmatch(name)) is not None:
            yield key, match[1], folder / key / name


def _below(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each entry, with its folder's where that is named by a key."""
    for key in _names(folder):
        yield "", key
        if KEY.fullmatch(key) and is_real_folder(folder / key):
            for name in _names(folder / key):
                yield key, name


def _names(folder: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name
