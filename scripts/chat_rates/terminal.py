"""A program in a pseudo terminal: what it writes, when, and what it costs. Linux."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Mapping
from pathlib import Path

COLUMNS, ROWS = 120, 40
# "What are you?", and what a plain VT220 says. Every terminal answers: a program waits for it.
ASKED, ANSWER = b"\x1b[c", b"\x1b[?62c"


class Terminal:
    """Starts a program; keeps what it writes, with the time of each piece."""

    def __init__(self, argv: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.began = time.monotonic()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, env)  # noqa: S606 - the program that is measured
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.pieces: list[tuple[float, bytes]] = []
        self.over = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while not self.over:
            try:
                select.select([self._fd], [], [])
                data = os.read(self._fd, 1 << 16)
            except OSError:
                data = b""
            if ASKED in data:
                os.write(self._fd, ANSWER)
            self.over = not data
            self.pieces.append((time.monotonic(), data))

    def send(self, text: str) -> None:
        """Type a text."""
        data = text.encode()
        while data:
            data = data[os.write(self._fd, data) :]

    def seen(self, text: str, since: int = 0, timeout: float = 30.0) -> float | None:
        """Return when a text was written after piece `since`; None: it was not, in `timeout` s."""
        what, limit = text.encode(), time.monotonic() + timeout
        tail = b""
        while time.monotonic() < limit:
            while since < len(self.pieces):
                when, data = self.pieces[since]
                since += 1
                tail = tail[-64:] + data
                if what in tail:
                    return when
            if self.over:
                return None
            time.sleep(0.001)
        return None

    def cpu(self) -> float:
        """Return the processor seconds of all its threads so far, and of those it started."""
        spent = 0
        for pid in _family(self.pid):
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError, IndexError):
                    spent += int(task.read_text().split()[0])
        return spent / 1e9

    def quiet(self, seconds: float = 0.15, timeout: float = 10.0) -> None:
        """Wait until it has written nothing for a while: it has done what it was asked for."""
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            if self.pieces and time.monotonic() - self.pieces[-1][0] >= seconds:
                return
            time.sleep(0.01)

    def written(self) -> int:
        """Return the bytes that it wrote so far."""
        return sum(len(data) for _, data in tuple(self.pieces))

    def memory(self, *, peak: bool = False) -> int:
        """Return the memory that it holds, or the most that it held so far, in bytes."""
        name, held = "VmHWM:" if peak else "VmRSS:", 0
        for pid in _family(self.pid):
            with contextlib.suppress(OSError, IndexError):
                status = Path(f"/proc/{pid}/status").read_text()
                held += int(status.partition(name)[2].split()[0])
        return held * 1024

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(self.pid, 0)
        self.over = True


def _family(pid: int) -> list[int]:
    """Return a process and all that it started, themselves or by others."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found
