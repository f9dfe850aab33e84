"""Installs, shows and removes the service: writes its file, and runs the system's own commands."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base import paths
from runner.base.errors import Refused, SteprunError
from runner.base.files import write_private
from runner.base.shell import shell_line
from runner.service.registered import Argv, ServiceSystem, Step, service_system

# A start waits until the server listens: plans are made within seconds, and the unit allows 300 s.
COMMAND_S: Final = 330.0
_LINES: Final = 3  # of what a command has said


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: its exit status, and what it has printed."""

    status: int
    text: str


Run = Callable[[Argv], Ran]


def run(argv: Argv) -> Ran:
    """Run one command of the system; its status is 127 where it is not installed."""
    if shutil.which(argv[0]) is None:
        return Ran(127, f"{argv[0]} is not installed.")
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Ran(1, str(error))
    return Ran(done.returncode, done.stdout.decode("utf-8", "replace"))


def system_here() -> ServiceSystem:
    """Return how services are run on this machine."""
    uid = os.getuid() if hasattr(os, "getuid") else 0
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home raises where there is none
    return service_system(sys.platform, os.environ, home, uid, paths.state_dir())


def user_here() -> str:
    """Return this user's name, on Windows with its domain."""
    import psutil  # noqa: PLC0415 - 10 ms

    return psutil.Process().username()


def must_run(system: ServiceSystem, runs: Run = run) -> None:
    """Raise Refused where the system does not run services for this user."""
    asked = runs(system.asks)
    if asked.status:
        raise Refused(
            f"A service cannot be installed: {system.title} does not run here for this user.",
            why=f"{shell_line(system.asks)}: {_last(asked.text)}",
            next="Run the server in a terminal instead: steprun serve",
        )


def installed(system: ServiceSystem) -> bytes | None:
    """Return what is installed; None for nothing."""
    with contextlib.suppress(OSError):
        return system.path.read_bytes()
    return None


def steps_to_install(system: ServiceSystem, content: bytes) -> tuple[Step, ...]:
    """Return the commands that an installation runs."""
    before = installed(system)
    if before == content:
        return (system.start,)
    return (*(system.again if before is not None else ()), *system.begin)


def install(system: ServiceSystem, content: bytes, runs: Run = run) -> None:
    """Write the file where it says anything else, and run the steps. Raises SteprunError."""
    for number, each in enumerate(steps := steps_to_install(system, content)):
        if number == len(steps) - len(system.begin):  # what was there has been ended
            write_private(system.path, content)
        _do(each, system, runs)


def uninstall(system: ServiceSystem, runs: Run = run) -> None:
    """End the service and remove all that was written. Raises SteprunError where it cannot be."""
    for each in system.end:
        _do(each, system, runs)
    for path in (system.path, *system.kept):
        path.unlink(missing_ok=True)
    for each in system.after:
        _do(each, system, runs)


def state(system: ServiceSystem, runs: Run = run) -> str:
    """Return the service's state, in the system's words."""
    shown = runs(system.shows)
    if shown.status:
        return f"not running ({_last(shown.text)})"
    fields = dict(line.strip().partition("=")[::2] for line in shown.text.splitlines())
    if "ActiveState" in fields:  # systemd
        words = f"{fields['ActiveState']} ({fields.get('SubState', '')})"
        # What it said last is kept when it has ended.
        reported = fields.get("StatusText", "") if fields["ActiveState"] != "inactive" else ""
        return f"{words}: {reported}" if reported else words
    names = ("state =", "Status:")  # launchctl, schtasks
    found = [line.strip() for line in shown.text.splitlines() if line.strip().startswith(names)]
    return found[0].rpartition("=" if "=" in found[0] else ":")[2].strip() if found else "installed"


def _do(step: Step, system: ServiceSystem, runs: Run) -> None:
    ran = runs(step.argv)
    for _ in range(step.tries - 1):
        if not ran.status:
            break
        time.sleep(1)
        ran = runs(step.argv)
    if ran.status and not step.may_fail:
        raise SteprunError(
            f"{system.title} refused: {shell_line(step.argv)}",
            why=_last(ran.text),
            next=f"Read what it printed: {system.log} - or remove it: steprun serve --uninstall",
        )


def _last(text: str) -> str:
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-_LINES:]) or "It said nothing."
