"""What an engine reports: its version, its flags, the devices that it finds.

Nothing is loaded: `--version`, `--help` and `--list-devices` answer at once. What they print is
not trusted: it is bounded in time and length, and only what looks as it should is taken.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from runner.base.errors import SteprunError
from runner.base.text import clean
from runner.engine.installed.flag_values import values_of
from runner.engine.installed.stamp import Stamp
from runner.engine.process import diagnose, loader
from runner.machine.probes import engine_view

TIMEOUT_S: Final = 30.0  # a CUDA build initialises its cards before it prints anything
MAX_BYTES: Final = 1 << 20  # llama-server's help is 60 kB
_LONGEST_LINE = 300
_CRASHED = 0xC0000000  # Windows: an NTSTATUS of an error
_END_S = 2.0  # between the end of a program's output and its own

_VERSION = re.compile(r"version:\s*(.+?)\s*$", re.MULTILINE)
_COMMIT = re.compile(r"(?:\bcommit |\()([0-9a-f]{7,40})\b")
_BUILT = re.compile(r"built with\s+(.+?)\s*$", re.MULTILINE)
_FLAG = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Described:
    """What an engine says of itself."""

    version: str
    commit: str
    compiler: str
    flags: frozenset[str]
    devices: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    no_device: str = ""

    def complete(self, stamp: Stamp) -> Stamp:
        """Return a stamp with what its engine reports now: drivers change."""
        return replace(
            stamp,
            version=self.version,
            compiler=self.compiler,
            flags=self.flags,
            devices=self.devices,
            values=dict(self.values),
            no_device=self.no_device,
        )


def describe(program: Sequence[str]) -> Described:
    """Ask an engine what it is. Raises `SteprunError` where it does not answer as one."""
    version_text = _output(program, "--version")
    help_text = _output(program, "--help")
    flags = flags_of(help_text)
    if "--model" not in flags:
        raise SteprunError(
            f"{program[0]} is not a llama-server binary.",
            why="Its --help lists no --model.",
            next="Build one: steprun engine build",
        )
    listing = _output(program, "--list-devices") if "--list-devices" in flags else ""
    devices = devices_of(listing)
    version, commit, built = (found.search(version_text) for found in (_VERSION, _COMMIT, _BUILT))
    return Described(
        version=clean(version[1])[:_LONGEST_LINE] if version else "",
        commit=commit[1] if commit else "",
        compiler=clean(built[1])[:_LONGEST_LINE] if built else "",
        flags=flags,
        devices=devices,
        values=values_of(help_text),
        no_device="" if devices else loader.no_device(listing),
    )


def embedded_version() -> str:
    """Load the embedded engine's native code, in a process of its own, and return its version.

    Raises `SteprunError` where it does not load.
    """
    script = "import xllamacpp; print(xllamacpp.__version__)"
    try:
        loaded = subprocess.run(
            [sys.executable, "-P", "-c", script],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        why = (loaded.stderr.strip().splitlines() or [f"status {loaded.returncode}"])[-1]
        failed = loaded.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        why, failed = str(error), True
    if failed:
        raise SteprunError(
            "The embedded engine does not load.", why=f"{why}.", next="Reinstall steprun."
        )
    return loaded.stdout.strip()


def listing(program: Sequence[str]) -> str:
    """Return an engine's answer to --list-devices; empty where it gives none."""
    try:
        return _output(program, "--list-devices")
    except SteprunError:
        return ""


def flags_of(help_text: str) -> frozenset[str]:
    """Return every flag that a --help lists, in all its spellings.

    A line that lists flags begins with one; those after it follow commas, and the first word that
    is none (a value's name, or the description) ends the list.
    """
    found: set[str] = set()
    for line in help_text.splitlines():
        for word in line.split() if line.startswith("-") else ():
            name = word.rstrip(",")
            if not _FLAG.fullmatch(name):
                break
            found.add(name)
    return frozenset(found)


def devices_of(text: str) -> tuple[str, ...]:
    """Return the accelerators of a --list-devices, one line each; BLAS and llvmpipe are none."""
    return tuple(
        f"{seen.engine_name}: {seen.name} ({seen.total >> 20} MiB)"
        for seen in engine_view.parse_devices(text) or ()
    )


def _output(program: Sequence[str], flag: str) -> str:
    """Return what an engine prints, on either stream; after MAX_BYTES of it, it is stopped."""
    try:
        process = subprocess.Popen(
            [*program, flag],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise _not_started(program[0], error) from error
    status = None
    with process:
        late = threading.Timer(TIMEOUT_S, _end, (process,))
        late.start()
        try:
            if process.stdout is None:
                raise AssertionError
            read = process.stdout.read(MAX_BYTES)
            text = read.decode("utf-8", "replace")
            if len(read) < MAX_BYTES:
                with suppress(subprocess.TimeoutExpired):
                    status = process.wait(_END_S)  # its output has ended; its status says how
            in_time = late.is_alive()
        finally:
            late.cancel()
            _end(process)  # it has printed everything, or too much
    if not in_time:
        raise SteprunError(
            f"{program[0]} {flag} has stopped responding.",
            why=f"It has run for {TIMEOUT_S:.0f} s.",
            next="Build the engine again: steprun engine build",
        )
    if status and (found := loader.explain(status, text)):
        raise found
    if status is not None and (status < 0 or status >= _CRASHED):
        how = diagnose.how(128 - status if status < 0 else status)
        raise SteprunError(
            f"{program[0]} {flag} crashes ({how}).",
            why="The file is damaged, or is not made for this machine.",
            next="Take it from its source again, or build an engine: steprun engine build",
        )
    return text


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, and what it has started: a wrapper's child would keep its output open."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _not_started(program: str, error: OSError) -> SteprunError:
    """Return why the system did not start a program."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError) and Path(program).is_file():
        # What is missing is the loader that the file names, which the system does not say.
        reason = "required file not found"
    found = loader.explain(None, reason)
    return SteprunError(
        f"{program} cannot be started.",
        why=f"{found.what} {found.why}" if found else f"{reason}.",
        next=found.next if found else f"Build an engine: {loader.BUILD}",
    )
