"""Runs one step of a build under `guard.py`: it ends with us, and is counted from its log."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from runner.engine.process import guard

POLL_S: Final = 0.1
STOP_S: Final = guard.GRACE_S * 3 + 1  # the guard waits for cmake, its output, and the rest
TAIL_BYTES: Final = 256 << 10  # other compilers go on for a while after the first has failed

# pip indents what a build says.
_NINJA = re.compile(rb"^ *\[(\d+)/(\d+)\] ")
_MAKE = re.compile(rb"^ *\[ *(\d+)%\] ")


def run_guarded(
    argv: Sequence[str],
    env: Iterable[tuple[str, str]],
    log: Path,
    tell: Callable[[int, int], None] = lambda _done, _whole: None,
) -> int:
    """Run a command under the guard, its output in a log; return its exit status.

    `env`: variables beside this process's own. `tell` hears how many steps of how many ninja, or
    how many of a hundred make says to have done. On any exception all that runs is ended.
    """
    log.with_name(log.name + ".1").unlink(missing_ok=True)
    log.write_bytes(b"")
    process = subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", guard.__file__, "--tree", "--log", str(log), "--"),
            *argv,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Compilers are to complain in English, which `trouble` reads.
        env={**os.environ, **dict(env), "LC_ALL": "C", "NINJA_STATUS": "[%f/%t] "},
        # A Ctrl-C in the terminal is for steprun, which then stops the build in order.
        start_new_session=os.name == "posix",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        counts = Counts(log)
        while (status := _status(process)) is None:
            if count := counts.latest():
                tell(*count)
        if count := counts.latest():  # what came between the last look and the end
            tell(*count)
        return status
    finally:
        _stop(process)


def _status(process: subprocess.Popen[bytes]) -> int | None:
    with suppress(subprocess.TimeoutExpired):
        return process.wait(POLL_S)
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Have the guard end whatever still runs, and wait until it has."""
    if process.stdin is None:
        raise AssertionError
    with suppress(OSError):
        process.stdin.close()  # it stops the build, as it would were we dead
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Counts:
    """Reads how far a build is from its log, as it grows."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0
        self._rest = b""
        self._done = self._whole = 0

    def latest(self) -> tuple[int, int] | None:
        """Return the last count that is new in the log, if there is one."""
        with suppress(OSError), self._log.open("rb") as log:  # not kept open: it turns its page
            if log.seek(0, os.SEEK_END) < self._at:
                self._at = 0
            log.seek(self._at)
            self._rest += log.read(1 << 20)
            self._at = log.tell()
        *lines, self._rest = self._rest.split(b"\n")
        self._rest = self._rest[-4096:]
        found = None
        for line in lines:
            if ninja := _NINJA.match(line):
                done, whole = int(ninja[1]), int(ninja[2])
            elif make := _MAKE.match(line):
                done, whole = int(make[1]), 100
            else:
                continue
            # A build within the build (Vulkan's shaders) has a much smaller count of its own; what
            # runs beside each other is said in any order.
            if whole * 2 > self._whole and (whole != self._whole or done > self._done):
                self._done, self._whole = found = done, whole
        return found


def log_tail(log: Path) -> str:
    """Return the end of such a log, which may have turned its page just before."""
    text = b""
    for path in (log.with_name(log.name + ".1"), log):
        with suppress(OSError):
            text += path.read_bytes()
    return text[-TAIL_BYTES:].decode("utf-8", "replace")
