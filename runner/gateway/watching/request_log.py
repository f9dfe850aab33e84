"""The request log: one JSON line a request, bounded, for this user's eyes only.

What memory did to the engine in between has lines of its own.

A thread writes it, so that a slow disk delays no answer. Never in it: what was asked and answered,
addresses of pictures or clients, keys.
"""

import logging
import os
import queue
import threading
from pathlib import Path
from typing import IO, Final

import msgspec

from runner.base import paths
from runner.base.files import make_private_dir
from runner.gateway.watching.account import Account
from runner.gateway.watching.events import MemoryEvent

LOG_BYTES: Final = 4 << 20  # about 12,000 requests; a full one moves to FILE.1, which is replaced
CHATS: Final = "chat"
# Between two writings: to wake the thread takes the loop 2 ms where all cores are busy, so under
# load it happens twice a second, and not at every request.
REST_S: Final = 0.5
_WAITING: Final = 10_000  # lines that a hung disk may hold up; what comes then is lost
_log = logging.getLogger(__name__)


def request_log_path(name: int | str) -> Path:
    """Return the log of the server at a port. It continues when that server is started again.

    The engines of all chats, each at a port of its own, have one log: `CHATS`.
    """
    return paths.state_dir() / "logs" / f"requests-{name}.jsonl"


class RequestLog:
    """Writes accounts to a file. Close it at the end."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self.path = path
        self._limit = limit
        self._lines: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    def write(self, account: Account | MemoryEvent) -> None:
        """Hand a line to the thread that writes; never waits."""
        try:
            self._lines.put_nowait(msgspec.json.encode(account) + b"\n")
        except queue.Full:
            _log.warning("The request log cannot be written fast enough: a line is lost.")

    def close(self, seconds: float = 2.0) -> None:
        """Write what is waiting, for so long at most, and end."""
        self._ends.set()
        try:
            self._lines.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _write_all(self) -> None:
        file: IO[bytes] | None = None
        while (line := self._lines.get()) is not None:
            try:
                file = self._open(file, len(line))
                file.write(line)
            except Exception as error:  # noqa: BLE001 - a full disk must not stop the server
                _log.warning("The request log cannot be written: %s", error)
            if self._lines.empty():
                self._ends.wait(REST_S)
        if file is not None:
            file.close()

    def _open(self, file: IO[bytes] | None, more: int) -> IO[bytes]:
        """Return the file to append to, which has been turned over where it is full."""
        if file is None or file.closed:
            file = self._append()
        if (size := file.tell()) and size + more > self._limit:
            file.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            file = self._append()
        return file

    def _append(self) -> IO[bytes]:
        make_private_dir(self.path.parent)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(handle, "ab", buffering=0)
