"""Whether an answer can be continued, and how. Pure."""

from typing import Final

from runner.chat.dialect import Dialect
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
