"""Writing files so that none is ever half-written, and the private ones stay private."""

import os
import tempfile
from pathlib import Path

from runner.errors import Refused


def make_private_dir(path: Path) -> Path:
    """Make a folder for this user's eyes only, and return it."""
    try:
        # mkdir's own `parents` would leave the folders in between open to others.
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)  # says what is wrong where it is no folder
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, with mode 0600: write beside it, fsync, rename."""
    make_private_dir(path.parent)
    try:
        # mkstemp opens with mode 0600: no moment at which others could read it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> Refused:
    """Return the error of a place that cannot be written to."""
    return Refused(
        f"{path} cannot be written.",
        why=f"{error.strerror or error}.",
        next="Give yourself the right to write there, or name another place: STEPRUN_HOME=DIR",
    )
