"""Writing files so that none is ever half-written, and the private ones stay private."""

import errno
import os
import secrets
import tempfile
import time
import traceback
from pathlib import Path

from runner.base import paths
from runner.base.errors import Refused


def listed(folder: Path) -> list[Path]:
    """Return what is in a folder, by name; nothing where it is missing or may not be entered."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def make_private_dir(path: Path) -> Path:
    """Make a folder for this user's eyes only, and return it."""
    try:
        # mkdir's own `parents` would leave the folders in between open to others.
        for folder in reversed([path, *path.parents]):
            if not os.path.exists(folder):  # noqa: PTH110 - Path.exists may raise
                folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)  # says what is wrong where it is no folder
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def write_private(path: Path, data: str | bytes) -> None:
    """Replace a file whole, with mode 0600: write beside it, fsync, rename. Text becomes UTF-8."""
    make_private_dir(path.parent)
    if isinstance(data, str):
        # A lone surrogate (half a character, an undecodable file name) must not fail the write.
        data = data.encode("utf-8", "backslashreplace")
    try:
        # mkstemp opens with mode 0600: no moment at which others could read it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def write_trace(error: BaseException) -> Path | str:
    """Write the trace of a fault to a file of its own; return where, or the trace itself."""
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}.log"
    trace = "".join(traceback.format_exception(error))
    try:
        path = paths.state_dir() / "logs" / name
        write_private(path, trace)
    except Exception:  # noqa: BLE001 - the last line of defence must not fall itself
        return f"(no log could be written)\n{trace}"
    return path


def cannot_write(path: Path, error: OSError) -> Refused:
    """Return the error of a place that cannot be written to."""
    full = error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    do = "Free some space" if full else "Give yourself the right to write there"
    return Refused(
        f"{path} cannot be written.",
        why=f"{error.strerror or error}.",
        next=f"{do}, or name another place (for steprun's own files: STEPRUN_HOME=DIR; for the "
        "weights: HF_HOME=DIR).",
    )
