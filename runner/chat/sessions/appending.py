"""Lines appended to the file of a chat: whole, or not at all."""

import contextlib
import os
from pathlib import Path

from runner.base.errors import Refused
from runner.base.files import cannot_write, make_private_dir

FILE_BYTES = 64 << 20  # a chat of 256K tokens is about 1 MB: more is not one of ours


def append_lines(path: Path, data: bytes, header: bytes = b"") -> None:
    """Append lines to a file, `header` first where it is new, and wait until they are on the disk.

    What a full disk took only a part of is taken back. Raises `Refused`.
    """
    make_private_dir(path.parent)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            data = data if size else header + data
            if size + len(data) > FILE_BYTES:
                raise Refused(
                    "The chat has grown too long to be saved.",
                    why=f"{path} may hold at most {FILE_BYTES >> 20} MiB.",
                    next="Start a new chat: /new",
                )
            if size:
                # A crash can leave half a line behind: it must not swallow this one.
                file.seek(-1, os.SEEK_END)
                data = data if file.read(1) == b"\n" else b"\n" + data
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(size)
                raise
    except OSError as error:
        raise cannot_write(path, error) from error
