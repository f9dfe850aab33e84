"""The reader that all probes use: of the real machine, or of a recording of one.

Every probe reads through a `Reader` and through nothing else. So a `Capture` holds all that a
plan rests on, and replaying it on any computer gives the machine it was taken on.
"""

import glob as globbing
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, Literal, Protocol

import msgspec

from runner.base.errors import BadFile, UsageError
from runner.base.files import write_private
from runner.machine.captures import replay
from runner.machine.captures.scrub import Scrubber

SCHEMA = "steprun.capture/1"
MAX_CAPTURE_BYTES = 4 << 20  # a real one is under 200 kB
MAX_TEXT_BYTES = 1 << 20  # of one file or of one command's output
MAX_MATCHES = 4096  # of one glob
TIMEOUT_S = 3.0  # nvidia-smi without persistence mode may need 2 s; a wedged driver never answers

# Where tools lie that PATH may lack: WSL2 mounts nvidia-smi from Windows, and a launchd job or a
# container has a short PATH.
_EXTRA_FOLDERS = {
    "posix": ("/usr/sbin", "/sbin", "/usr/lib/wsl/lib", "/usr/local/nvidia/bin"),
    "nt": (r"C:\Windows\System32", r"C:\Windows\System32\WindowsPowerShell\v1.0"),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command answered: its exit status and its standard output."""

    exit: int
    stdout: str


@dataclass(frozen=True, slots=True)
class Capture:
    """All that the probes saw on one machine.

    `platform`: `sys.platform` and the architecture, as `linux-x86_64`.
    `files`: path -> text; null where it exists and this user cannot read it. A device node that
    this user may open reads as empty text. What does not exist is left out.
    `commands`: argv joined by single spaces -> answer; null where there was none.
    """

    platform: str
    files: Mapping[str, str | None] = field(default_factory=dict)
    commands: Mapping[str, Ran | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `parse_capture` reads."""
        return {"schema": SCHEMA, **asdict(self)}


class Reader(Protocol):
    """The only way from a probe to a machine. It answers None for whatever it cannot tell."""

    @property
    def platform(self) -> str:
        """Return `sys.platform` and the architecture, as `linux-x86_64`."""
        ...

    def file(self, path: str) -> str | None:
        """Return a file's text, or None."""
        ...

    def glob(self, pattern: str) -> list[str]:
        """Return the existing paths that match; `*` stands for any part of one name."""
        ...

    def run(self, *argv: str) -> Ran | None:
        """Return what a read-only command answered, or None: absent, too slow, too long."""
        ...


class Live:
    """Reads this machine, and remembers what it saw.

    Nothing is read twice, so that one detection sees one state of the machine.
    """

    def __init__(self) -> None:
        self._files: dict[str, str | None] = {}
        self._missing: set[str] = set()
        self._commands: dict[str, Ran | None] = {}

    @property
    def platform(self) -> str:
        """Return `sys.platform` and the architecture, as `linux-x86_64`."""
        return f"{sys.platform}-{platform.machine()}"

    def file(self, path: str) -> str | None:
        """Return a file's text, at most 1 MiB; empty text for a device that may be opened."""
        if path in self._missing:
            return None
        if self._files.get(path) is None:
            exists, text = _read(path)
            if exists:
                self._files[path] = text
            else:
                self._missing.add(path)
        return self._files.get(path)

    def glob(self, pattern: str) -> list[str]:
        """Return the existing paths that match, sorted."""
        found = sorted(globbing.glob(pattern))[:MAX_MATCHES]  # noqa: PTH207 - patterns are absolute
        for path in found:
            self._files.setdefault(path, None)
        return found

    def run(self, *argv: str) -> Ran | None:
        """Run a command at most once, for at most 3 s, never through a shell."""
        key = " ".join(argv)
        if key not in self._commands:
            self._commands[key] = _run(argv)
        return self._commands[key]

    def capture(self) -> Capture:
        """Return what was seen so far, without names, serial numbers and UUIDs."""
        scrubber = Scrubber()
        return Capture(
            platform=self.platform,
            files={
                scrubber.path(path): None if text is None else scrubber.file(path, text)
                for path, text in sorted(self._files.items())
            },
            commands={
                argv: None if ran is None else Ran(ran.exit, scrubber.output(argv, ran.stdout))
                for argv, ran in sorted(self._commands.items())
            },
        )


class Replay:
    """Answers from a capture, and from nothing else.

    A command that was recorded exactly comes first; then what other recorded commands say of the
    same (`replay`), as captures may be typed by hand or come from another version.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        # A path typed with a blank behind it is still that path; the exact one wins.
        self._files = {path.strip(): text for path, text in capture.files.items()} | {
            path: text for path, text in capture.files.items() if path == path.strip()
        }
        ran = capture.commands.items()
        self._printed = {argv: each.stdout for argv, each in ran if each and each.exit == 0}
        self._translated: dict[str, Ran | None] = {}

    @property
    def platform(self) -> str:
        """Return the platform that the capture was taken on."""
        return self._capture.platform

    def file(self, path: str) -> str | None:
        """Return the recorded text."""
        return self._files.get(path)

    def glob(self, pattern: str) -> list[str]:
        """Return the recorded paths that match, sorted as on the live machine."""
        wanted = re.compile("[^/]*".join(re.escape(part) for part in pattern.split("*")))
        return sorted(path for path in self._files if wanted.fullmatch(path))[:MAX_MATCHES]

    def run(self, *argv: str) -> Ran | None:
        """Return the recorded answer, of this command or else of one that tells the same."""
        key = " ".join(argv)
        if key in self._capture.commands:
            return self._capture.commands[key]
        if key not in self._translated:
            answer = replay.equivalent(self._printed, argv)
            self._translated[key] = None if answer is None else Ran(0, answer)
        return self._translated[key]


def save(capture: Capture, path: Path) -> None:
    """Write a capture as JSON, whole or not at all."""
    text = json.dumps(capture.to_json(), indent=1) + "\n"
    if path.exists() and (path.is_symlink() or not path.is_file()):
        path.write_text(text, encoding="utf-8")  # /dev/stdout, a pipe: not to be replaced
    else:
        write_private(path, text)


def load_capture(path: Path) -> Capture:
    """Read a capture that anybody may have written.

    Raises `BadFile` for anything else, and `UsageError` where there is nothing to read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CAPTURE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"The capture {path} cannot be read.",
            why=f"{why}.",
            next="Check the path; `steprun machine --known` lists the machines known by name.",
        ) from error
    return parse_capture(raw)


def parse_capture(raw: bytes) -> Capture:
    """Turn the bytes of a capture (at most 4 MiB) into one; `BadFile` names the bad field."""
    if len(raw) > MAX_CAPTURE_BYTES:
        raise _bad("size", f"is over {MAX_CAPTURE_BYTES >> 20} MiB")
    try:
        found = _typed(
            json.loads(raw), _CaptureDocument, "document"
        )  # which may be UTF-16: PowerShell's
    except (ValueError, RecursionError) as error:
        raise _bad("document", "is not JSON") from error
    return Capture(
        platform=found.platform,
        files={
            path: _typed(text, str | None, f"files[{path[:80]!r}]")
            for path, text in found.files.items()
        },
        commands={
            argv: _typed(ran, Ran | None, f"commands[{argv[:80]!r}]")
            for argv, ran in found.commands.items()
        },
    )


class _CaptureDocument(msgspec.Struct):
    """A capture's outermost level; keys that are not known are left alone."""

    schema: Literal["steprun.capture/1"]
    platform: Annotated[str, msgspec.Meta(min_length=1)]
    files: dict[str, Any]
    commands: dict[str, Any]


def _typed(value: Any, kind: Any, name: str) -> Any:
    """Return a JSON value as that type; `BadFile`, which names it, where it is of another."""
    try:
        return msgspec.convert(value, kind)
    except ValueError as error:  # msgspec's own, or of a lone surrogate that it cannot encode
        raise _bad(name, f"is wrong: {error}") from error


def _bad(name: str, problem: str) -> BadFile:
    return BadFile(
        f"This is not a machine capture: {name} {problem}.",
        next="Take a new one with `steprun machine --capture FILE`.",
    )


def _read(path: str) -> tuple[bool, str | None]:
    """Return whether a path exists, and its text where this user can read it."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a Path per sysfs file would double the time
        if stat.S_ISCHR(mode):  # opening /dev/kfd creates a GPU context: ask for the rights only
            return True, "" if os.access(path, os.R_OK | os.W_OK) else None
        if not stat.S_ISREG(mode):
            return True, None
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return True, file.read(MAX_TEXT_BYTES).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return False, None
    except (OSError, ValueError):
        return True, None


def _run(argv: Sequence[str]) -> Ran | None:
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *_EXTRA_FOLDERS[os.name]))
    program = shutil.which(argv[0], path=folders)
    if program is None or not Path(program).is_absolute():
        return None  # a relative hit is a file in the current folder: never run that
    try:
        process = subprocess.Popen(
            (program, *argv[1:]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "LANG": "C"},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError):
        return None
    assert process.stdout is not None  # noqa: S101 - it was asked for
    return _collect(process, process.stdout)


def _collect(process: subprocess.Popen[bytes], stdout: IO[bytes]) -> Ran | None:
    """Wait for a command's output in a thread of its own.

    A tool in an uninterruptible driver call survives SIGKILL with its pipe open (a wedged GPU):
    then the thread is left behind, and this program goes on.
    """
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.append(stdout.read(MAX_TEXT_BYTES)), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    code = None
    if seen and len(seen[0]) < MAX_TEXT_BYTES:
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout=1)
    if code is None:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
        thread.join(0.2)
    if not thread.is_alive():
        stdout.close()
    return None if code is None else Ran(code, seen[0].decode("utf-8", "replace"))
