"""Several jobs at once, each in a thread of its own: watched, stopped together, left in time.

The threads are daemons: a job that hangs in the system must not keep the program from ending.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

_LOOK_S: Final = 0.1  # between two looks at the threads: what people see move
LEAVE_S: Final = 5.0  # jobs have this long to end after a stop


class Stopped(Exception):  # noqa: N818 - not a fault
    """Another job has failed, or the user has had enough."""


class Job(Protocol):
    """One job. `run` ends soon after `stop` is set, by `Stopped` where it has not finished."""

    def run(self, stop: threading.Event) -> None:
        """Do it; whatever it raises ends all jobs."""
        ...

    def abort(self) -> None:
        """End what `run` waits for, from another thread. Called once `stop` is set."""
        ...

    def left_behind(self) -> None:
        """Hear that nobody waits for `run` any more: what it holds may be another's by now."""
        ...


def run_all(jobs: Sequence[Job], look: Callable[[], None], leave_s: float = LEAVE_S) -> None:
    """Run all jobs at once; raises the first error that any of them meets, the others stopped.

    `look` is called about ten times a second from the caller's thread, to show progress and to
    end what hangs; what it raises stops the jobs, too.
    """
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(job: Job) -> None:
        try:
            job.run(stop)
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    try:
        for thread in threads:
            thread.start()
        while not errors and (running := [thread for thread in threads if thread.is_alive()]):
            running[0].join(_LOOK_S)
            look()
    finally:
        stop.set()
        for job, thread in zip(jobs, threads, strict=True):
            if thread.is_alive():
                job.abort()
        ends = time.monotonic() + leave_s
        for job, thread in zip(jobs, threads, strict=True):
            if thread.ident is not None:
                thread.join(max(0.0, ends - time.monotonic()))
                if thread.is_alive():
                    job.left_behind()
    for error in sorted(errors, key=lambda each: isinstance(each, Stopped)):
        raise error
