"""Runs one step of a build under the guard, and counts from its log how far it is."""

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from runner.base.errors import SteprunError
from runner.base.files import make_private_dir, write_private
from runner.base.progress import OnProgress, Phase, Progress, ignore
from runner.engine.process.guarded import Guarded, Variables
from runner.engine.process.log import LogReader

POLL_S: Final = 0.1
TAIL_BYTES: Final = 256 << 10  # other compilers print for a while after the first has failed

# pip indents what a build says.
_NINJA = re.compile(r" *\[(\d+)/(\d+)\] ")
_MAKE = re.compile(r" *\[ *(\d+)%\] ")


def run_step(
    argv: Sequence[str],
    env: Variables,
    log: Path,
    progress: OnProgress = ignore,
) -> int:
    """Run a command under the guard, its output in a log; return its exit status.

    `env`: variables beside this process's own. `progress` hears how many steps of how many ninja
    has compiled, or how many of a hundred make has. On any exception all that runs is stopped.
    """
    # Compilers complain in English, which `failure_causes` reads.
    english = (("LC_ALL", "C"), ("NINJA_STATUS", "[%f/%t] "))
    with Guarded(argv, log, env=(*env, *english), tree=True) as running:
        counter = Counter()
        status = None
        while status is None:
            status = running.status(POLL_S)  # before the log is read: its end counts too
            if count := counter.latest(running.log.lines()):
                progress(Progress(Phase.COMPILING, *count))
        return status


def resumable(work: Path, compile_it: Callable[[], None], progress: OnProgress) -> None:
    """Compile in `work/out`; where a killed run has left damage there, once more from scratch.

    make takes a half-written file of a killed compiler for a whole one; ninja does not.
    """
    running = work / "running"  # exists while a build runs, and after one that was killed
    killed = running.exists()
    write_private(running, "")
    try:
        try:
            compile_it()
        except SteprunError:
            if not killed:
                raise
            progress(Progress(Phase.RESTARTING))
            shutil.rmtree(work / "out", ignore_errors=True)
            make_private_dir(work / "out")
            compile_it()
    except SteprunError:
        running.unlink()
        raise


def log_tail(log: Path) -> str:
    """Return the end of a step's log."""
    return LogReader(log).tail(TAIL_BYTES)


class Counter:
    """How far a build is, from the lines of its log."""

    def __init__(self) -> None:
        self._done = self._total = 0

    def latest(self, lines: Iterable[str]) -> tuple[int, int] | None:
        """Return the last count among new lines that is further than before; None without one."""
        found = None
        for line in lines:
            if ninja := _NINJA.match(line):
                done, total = int(ninja[1]), int(ninja[2])
            elif make := _MAKE.match(line):
                done, total = int(make[1]), 100
            else:
                continue
            # A build within the build (Vulkan's shaders) has a much smaller count of its own, and
            # what runs in parallel is printed in any order.
            if total * 2 > self._total and (total != self._total or done > self._done):
                self._done, self._total = found = done, total
        return found
