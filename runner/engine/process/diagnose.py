"""Why an engine died, from its exit status and the end of its log. Pure."""

import re
import signal
from dataclasses import dataclass

from runner.base.errors import BadFile, Exit, Refused, SteprunError
from runner.base.text import clean
from runner.engine.process import loader

LAST_LINES = 40
_INFO = re.compile(r"[\d.]+ [ID] ")  # "0.00.012.293 I llama_context: ..."


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


def diagnose(status: int | None, log_tail: str, log_path: str, *, ready: bool) -> SteprunError:
    """Return the error that explains why the engine ended.

    `status`: exit status as the guard reports it (128 + N for signal N; None if unknown).
    `ready`: it had served before it ended.
    """
    found = loader.no_code(log_tail) if ready else loader.explain(status, log_tail)
    if found is not None:
        found.next += f" (log: {log_path})"
        return found
    low = log_tail.lower()
    for cause in CAUSES:
        if not ready and cause.line in low:
            return cause.error(cause.what, why=cause.why, next=f"{cause.next} (log: {log_path})")
    when = "while it was answering" if ready else "while it was loading"
    error = SteprunError(
        f"The engine stopped {when} ({how(status)}).",
        why=_last_error(log_tail) or "Its log does not say why.",
        next=f"Read the log: {log_path}",
    )
    error.exit_code = Exit.FAILED
    return error


def how(status: int | None) -> str:
    """Return how a program ended, by its exit status as a guard reports it."""
    if status is None:
        return "no exit status"
    if status >= 0xC0000000:  # Windows: an NTSTATUS, such as 0xC0000005, access violation
        return f"Windows status 0x{status:08X}"
    if status > 128:
        number = status - 128
        names = {int(s): s.name for s in signal.Signals}
        killed = " - the system may have killed it for memory" if number == 9 else ""
        return f"{names.get(number, f'signal {number}')}{killed}"
    return f"exit status {status}"


def _last_error(log_tail: str) -> str:
    """Return the engine's last complaint (llama-server marks errors with ' E '), or its last line.

    An information line (' I ') is neither: it only shows progress.
    """
    lines = [clean(line).strip()[:300] for line in reversed(log_tail.splitlines())]
    for line in lines:
        if " E " in line or line.lower().startswith(("error", "fatal", "ggml_abort", "terminate")):
            return line
    return next((line for line in lines if line and not _INFO.match(line)), "")
