"""The errors that a user sees, and the exit codes that a script sees.

Every error says what happened, why, and what to type next; `runner.cli.main` alone prints it.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TypeVar

_FEW = 12  # names that one line of an error may list

T = TypeVar("T")


class Exit(IntEnum):
    """Exit codes: part of the command contract, never renumbered."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3  # it would not fit here, or something that it needs is missing
    BAD_FILE = 4  # a file is damaged, or of another kind
    INTERRUPTED = 130


class SteprunError(Exception):
    """Something a user can act on.

    `what` happened, `why` it happened, and `next` (a command or an action, may be empty).
    Carries the exit code of the process.
    """

    exit_code = Exit.FAILED

    def __init__(self, what: str, *, why: str = "", next: str = "") -> None:  # noqa: A002 - reads as the message does
        super().__init__(what)
        self.what = what
        self.why = why
        self.next = next

    def __str__(self) -> str:
        """Return the message in one line, for logs and for events."""
        return " ".join(part for part in (self.what, self.why, self.next) if part)


class UsageError(SteprunError):
    """The command was typed wrongly."""

    exit_code = Exit.USAGE


class Refused(SteprunError):  # noqa: N818 - a refusal is an answer, not a fault
    """It would not fit, or something needed is missing."""

    exit_code = Exit.REFUSED


class BadFile(SteprunError):  # noqa: N818 - reads as what it is
    """A file is damaged, or of another kind than it should be."""

    exit_code = Exit.BAD_FILE


def find(kind: str, name: str, known: Mapping[str, T], *, see: str) -> T:
    """Return what has a name, in any case; raises `unknown` where nothing has it."""
    by_name = {each.lower(): value for each, value in known.items()}
    if name.lower() not in by_name:
        raise unknown(kind, name, known, see=see)
    return by_name[name.lower()]


def unknown(kind: str, name: str, known: Iterable[str], *, see: str) -> UsageError:
    """Return the error of a name that nothing has: the nearest known ones, or where to look.

    `kind`: what was named, such as `quant`. `see`: the command that lists them.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - 4 ms, and only an error needs it

    folded = {each.lower(): each for each in known}
    near = [folded[each] for each in get_close_matches(name[:80].lower(), folded, cutoff=0.5)]
    return UsageError(
        f"There is no {kind} {name[:80]!r}.",
        why=f"Available: {', '.join(folded.values())}." if len(folded) <= _FEW else "",
        next=f"Did you mean {' or '.join(near)}?" if near else f"List them: {see}",
    )
