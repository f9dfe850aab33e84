"""Why an engine died, from its exit status and the end of its log. Pure."""

import re
import signal
from dataclasses import dataclass
from typing import Final

from runner.base.errors import BadFile, Exit, Refused, SteprunError
from runner.base.text import clean
from runner.engine.process import loader, memory_watch

LAST_LINES = 40
# A line that llama.cpp marks: minutes, seconds, milli- and microseconds since its start, and the
# level ("0.00.012.293 I llama_context: ...").
_MARKED: Final = re.compile(r"(?P<time>[\d.]+) (?P<level>[IWED]) ")
# What a program says with its last breath, and llama.cpp does not mark.
_LAST_WORDS: Final = re.compile(
    r"(?i)([\w.]*(error|exception)\b|fatal|ggml_abort|terminate|cuda error|.*ggml_assert\()"
)
_SAME_END_S: Final = 1.0  # what is logged so shortly before the last line belongs to the end
_KILL: Final = 9
# From outside: whatever the log says, it is not why. SIGHUP, SIGINT, SIGKILL, SIGTERM.
_FROM_OUTSIDE: Final = frozenset({1, 2, 9, 15})
# It was executing when it was stopped, so that it could say nothing: SIGILL, SIGBUS, SIGFPE,
# SIGSEGV, and Windows' access violation and stack overflow (winternl.h).
_CRASHES: Final = frozenset({4, 7, 8, 10, 11})
_WINDOWS_CRASHES: Final = frozenset({0xC0000005, 0xC00000FD})


@dataclass(frozen=True, slots=True)
class CrashCause:
    """A line in an engine's log, and what it means for the user."""

    line: str  # in lower case; the first cause whose line is in the log wins
    error: type[SteprunError]
    what: str
    why: str
    next: str


CAUSES = (
    CrashCause(
        "couldn't bind http server socket",
        Refused,
        "The engine could not listen on the port.",
        "Another program uses it, or this user may not.",
        "Choose another: steprun serve --port 8081",
    ),
    CrashCause(
        "failed to load multimodal model",
        BadFile,
        "The engine could not load the vision encoder (mmproj).",
        "The file is damaged, or it belongs to another model.",
        "Download or copy it again.",
    ),
    CrashCause(
        "out of memory",
        Refused,
        "The engine ran out of memory while loading.",
        "Less memory was free than planned: another program has taken it.",
        "Close other programs, then run: steprun plan",
    ),
    CrashCause(
        "failed to allocate",
        Refused,
        "The engine could not allocate the memory that it needs.",
        "Less memory was free than planned: another program has taken it.",
        "Close other programs, then run: steprun plan",
    ),
    CrashCause(
        "unknown flag",
        SteprunError,
        "The engine does not know a flag that steprun gave it.",
        "The engine is older or newer than this steprun.",
        "Report it with the log, or use the embedded engine: --engine embedded",
    ),
    CrashCause(
        "failed to load model",
        BadFile,
        "The engine could not load the model.",
        "The file is damaged, truncated, or of a format that this engine does not support.",
        "Download or copy it again.",
    ),
    CrashCause(
        "cannot start",
        SteprunError,
        "The engine could not be started.",
        "Its program is missing or not executable.",
        "See what is wrong: steprun doctor",
    ),
)


def diagnose(
    status: int | None, log_tail: str, log_path: str, *, ready: bool, fresh: bool = True
) -> SteprunError:
    """Return the error that explains why the engine ended: from its exit status first.

    `status`: exit status as the guard reports it (128 + N for signal N; None if unknown).
    `ready`: it had served before it ended; only while it loads is every line of the log about the
    end. `fresh`: the log was written to just before the end.
    """
    number = signal_of(status)
    when = "while it was answering" if ready else "while it was loading"
    if short := short_of_memory(status, log_tail):
        return _failed(
            f"The engine was stopped {when}, before this machine ran out of memory.",
            f"Other programs took more than was free: {short}",
            f"Close other programs, then see what fits: steprun plan (log: {log_path})",
        )
    if number == _KILL:
        return _failed(
            f"The engine was killed {when} ({how(status)}).",
            "The system does that where memory runs out; another program or person can, too.",
            f"Close other programs, then see what fits: steprun plan (log: {log_path})",
        )
    if number in _FROM_OUTSIDE:
        return _failed(
            f"The engine was stopped {when} ({how(status)}).",
            "Another program or person has sent it that signal.",
            f"Start it again (log: {log_path})",
        )
    found = loader.no_code(log_tail) if ready else loader.explain(status, log_tail)
    if found is not None:
        found.next += f" (log: {log_path})"
        return found
    low = log_tail.lower()
    for cause in CAUSES:
        if not ready and cause.line in low:
            return cause.error(cause.what, why=cause.why, next=f"{cause.next} (log: {log_path})")
    why = last_error(log_tail) if fresh else ""
    if number in _CRASHES or status in _WINDOWS_CRASHES:
        return _failed(
            f"The engine crashed {when} ({how(status)}).",
            why or "That is a fault of the engine's, or of a driver.",
            f"Read the log: {log_path}",
        )
    return _failed(
        f"The engine stopped {when} ({how(status)}).",
        why or "Its log does not say why.",
        f"Read the log: {log_path}",
    )


def _failed(what: str, why: str, then: str) -> SteprunError:
    error = SteprunError(what, why=why, next=then)
    error.exit_code = Exit.FAILED
    return error


def short_of_memory(status: int | None, log_tail: str) -> str:
    """Return what the guard wrote when it killed the engine for want of memory; empty if not."""
    if signal_of(status) != _KILL:
        return ""
    found = log_tail.rpartition(f"\n{memory_watch.MARK}")
    return clean(found[2].partition("\n")[0]) if found[1] else ""


def signal_of(status: int | None) -> int:
    """Return the signal that ended a program, 0 where none did.

    `status`: 128 + N as a guard reports signal N, -N as Python does where the guard itself died.
    """
    if status is None or status >= 256:
        return 0
    return -status if status < 0 else max(0, status - 128)


def by_itself(status: int | None) -> bool:
    """Whether a program has ended by its own decision, so that it would do the same again."""
    return status is not None and status < 0xC0000000 and not signal_of(status)


def how(status: int | None) -> str:
    """Return how a program ended, by its exit status as a guard reports it."""
    if status is None:
        return "no exit status"
    if status >= 0xC0000000:  # Windows: an NTSTATUS, such as 0xC0000005, access violation
        return f"Windows status 0x{status:08X}"
    if number := signal_of(status):
        return {int(each): each.name for each in signal.Signals}.get(number, f"signal {number}")
    return f"exit status {status}"


def last_error(log_tail: str) -> str:
    """Return the error that an engine ended with, empty where its log has none at its end.

    It must be marked as an error, and nothing may follow that was written later: an old complaint
    about a request says nothing about the end.
    """
    latest: float | None = None
    for raw in reversed(log_tail.splitlines()):
        line = clean(raw).strip()[:300]
        marked = _MARKED.match(line)
        if marked is None:
            if _LAST_WORDS.match(line):
                return line if latest is None else ""
            continue
        at = _seconds(marked["time"])
        latest = at if latest is None else latest
        if latest - at > _SAME_END_S:
            return ""
        if marked["level"] == "E":
            return line
    return ""


def _seconds(stamp: str) -> float:
    """Return the seconds of a stamp, such as "1.02.003.004"; of a short one what it holds."""
    total = 0.0
    for part, unit in zip(stamp.split("."), (60.0, 1.0, 1e-3, 1e-6), strict=False):
        total += unit * int(part or 0)
    return total
