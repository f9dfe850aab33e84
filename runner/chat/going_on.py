"""Whether an answer can be continued, and how. Pure."""

from typing import Final

from runner.chat.dialect import Dialect
from runner.chat.steps import StepKind, TurnStep, since_result, uses_of
from runner.chat.turn import SAID, Turn, TurnState

LESS_EFFORT: Final = "low"  # of a server that cannot go on from what was thought
GO_ON: Final = "continue"  # what a server is told that cannot go on from what was written


def open_ended(turn: Turn, context: int) -> bool:
    """Whether an answer broke off, or never began. `context`: tokens, 0 where unknown."""
    full = turn.finish == "length" and not turn.note(context).endswith("/new")
    broken = turn.phase is not TurnState.DONE and bool(turn.steps)
    return turn.thinks_only or full or broken


def can_write_on(turn: Turn, dialect: Dialect) -> bool:
    """Whether a server of this dialect can write on behind what the answer ends in."""
    return dialect.continues and bool(turn.steps) and turn.steps[-1].kind in SAID


def up_to_results(turn: Turn) -> tuple[TurnStep, ...]:
    """Return the steps of an answer up to the last result of a tool, from which any server goes on.

    Calls without a result are left out. Empty where there is no result, or where some of the answer
    was written after it.
    """
    at = since_result(turn.steps)
    if any(step.kind is StepKind.TEXT and step.text.strip() for step in turn.steps[at:]):
        return ()
    lost = {id(use.call) for use in uses_of(turn.steps) if use.result is None}
    return tuple(step for step in turn.steps[:at] if id(step) not in lost)
