"""A program in a pseudo-terminal, and what stands on its screen."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pexpect
import pyte

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
_OURS = frozenset({"NO_COLOR", "COLUMNS", "LINES"})  # of the tests, not of this terminal


class Terminal:
    """Runs Python with `argv` at `size` (rows, columns); use as a context manager."""

    def __init__(
        self, *argv: str, home: Path, size: tuple[int, int] = (24, 80), **env: str
    ) -> None:
        self.screen = pyte.Screen(size[1], size[0])
        self._stream = pyte.Stream(self.screen)
        self.child = pexpect.spawn(
            sys.executable,
            list(argv),
            dimensions=size,
            encoding="utf-8",
            codec_errors="replace",
            env={
                **{key: value for key, value in os.environ.items() if key not in _OURS},
                "STEPRUN_HOME": str(home),
                "PYTHONPATH": str(ROOT),
                "TERM": "xterm-256color",
                **env,
            },
        )
        self.raw = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.child.closed:
            self.child.close(force=True)

    def text(self) -> str:
        """Return the screen as it stands."""
        return "\n".join(self.screen.display)

    def read(self) -> None:
        """Take in what has come."""
        try:
            text = self.child.read_nonblocking(65536, timeout=0.1)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return
        self.raw += text
        # pyte takes the private CSI sequences of newer terminals for text.
        self._stream.feed(text)

    def until(self, condition: Callable[[], bool]) -> None:
        """Read until something is so; fail with the screen where it never is."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.text()
            self.read()

    def sees(self, *texts: str) -> None:
        """Wait until all of these stand on the screen."""
        self.until(lambda: all(text in self.text() for text in texts))

    def ended(self) -> int:
        """Wait for the end and return the exit code."""
        self.until(lambda: not self.child.isalive())
        self.read()
        return int(self.child.exitstatus)
