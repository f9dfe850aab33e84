"""Starts a program under `guard.py`: it never outlives this process, and its output is bounded.

Everything steprun starts and waits for goes through here: engines, memory probes, builds, git.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from runner.engine.process import guard
from runner.engine.process.log import LogReader
from runner.engine.process.silence import LOOK_S, Silence
from runner.engine.process.taken import MemoryTaken
from runner.plan.launch import Floors

GUARD: Final = Path(guard.__file__)
# What the guard itself may take: it stops one program within GRACE_S, and a tree of them within
# three times that (the program asked to stop, its output read to the end, the rest killed).
SLACK_S: Final = 3.0
Variables = Iterable[tuple[str, str]]


class Guarded:
    """A program that runs under the guard. Use as a context manager: leaving stops it.

    `pid`: the program's own process, 0 where it could not be started (its log then says why).
    `memory_left`: how many bytes are left while they are below the first floor; None above it.
    `unwatched`: the guard was ended, and the program with it, as it had stopped watching.
    `taken`: the most that it has taken. `heard`: how many
    lines the guard has written since.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: Variables = (),
        base: Mapping[str, str] | None = None,
        tree: bool = False,
        stack: int = 0,
        floors: Floors | None = None,
    ) -> None:
        """Start it. `log`: where its output goes; an old one is replaced.

        `env`: variables added to `base`, which is this process's environment where left out.
        `tree`: it starts others, and all of them end with it. `stack`: the limit of its stack in
        bytes (`stack.for_engine`); 0 leaves it. `floors`: it is killed before the memory that is
        left falls below them. Raises OSError where no process can be started.
        """
        self.taken = MemoryTaken(floors.mapped if floors is not None else 0)
        log.with_name(f"{log.name}.1").unlink(missing_ok=True)
        log.write_bytes(b"")  # else what an earlier run has left would be read as its output
        self.log = LogReader(log)
        self.stop_s = guard.GRACE_S * (3 if tree else 1) + SLACK_S
        flags = (*(("--tree",) if tree else ()), *(("--stack", str(stack)) if stack else ()))
        if floors is not None:
            for name in ("low", "least", "mapped"):
                flags += (f"--{name}", str(getattr(floors, name)))
        self._guard = subprocess.Popen(
            [*(sys.executable, "-I", "-S", str(GUARD), *flags, "--log", str(log), "--"), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**(os.environ if base is None else base), **dict(env)},
            # A Ctrl-C in the terminal is for steprun, which then stops the program in order.
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
            | getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._to, first = self._guard.stdin, self._guard.stdout
        if self._to is None or first is None:
            raise AssertionError
        word, _, pid = first.readline().partition(b" ")
        self.pid = int(pid) if word == b"pid" else 0
        self.memory_left: int | None = None
        self.unwatched = False
        self.heard = 0
        if floors is None or not self.pid:
            first.close()
        else:
            threading.Thread(target=self._listen, args=(first,), daemon=True).start()
            threading.Thread(target=self._mind, args=(Silence(),), daemon=True).start()

    def _listen(self, guard_says: IO[bytes]) -> None:
        """Take in what the guard says of the memory, until it ends."""
        with guard_says:
            for line in guard_says:
                word, _, left = line.partition(b" ")
                self.memory_left = int(left) if word == b"low" else None
                self.heard += 1

    def _mind(self, silence: Silence) -> None:
        """See to it that the guard goes on watching, until it ends."""
        while self._guard.poll() is None:
            time.sleep(LOOK_S)
            self.taken.look(self.pid)
            remedy = silence.look(self.heard)
            if remedy == "wake" and os.name == "posix":
                self._guard.send_signal(signal.SIGCONT)
            elif remedy == "end":
                self.unwatched = True
                self.kill()  # on Linux the program dies with it, elsewhere its owner ends it

    def __enter__(self) -> Self:
        """Return the running program."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and wait until it has ended."""
        self.stop()

    def status(self, seconds: float = 0.0) -> int | None:
        """Wait so long at most for its end; return its exit status, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self._guard.wait(seconds)
        return None

    def ask_to_stop(self, *, politely: bool = True) -> None:
        """Have the guard stop it, and return at once. Not politely: a single program is killed."""
        with suppress(OSError, ValueError):  # the guard is gone, or was asked before
            if self._to is not None and not self._to.closed:
                if politely:
                    self._to.write(b"stop\n")
                self._to.close()

    def kill(self) -> int:
        """Kill the guard where it has not ended yet; return its exit status.

        On Linux the program dies with it; elsewhere `records.end` is for what is left.
        """
        if self._guard.poll() is None:
            self._guard.kill()
        return self._guard.wait()

    def stop(self, *, politely: bool = True) -> int:
        """Stop it, and wait until it has ended; safe to call twice. Returns the exit status."""
        self.ask_to_stop(politely=politely)
        status = self.status(self.stop_s)
        return self.kill() if status is None else status
