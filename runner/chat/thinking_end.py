"""Ends the thinking of an answer under way, where its server can be told to."""

from collections.abc import Callable
from enum import Enum, auto

from runner.chat.clock import AnswerClock
from runner.chat.dialect import Dialect
from runner.chat.host import ChatHost


class ThinkingEnd(Enum):
    """How a thinking that was to end has ended."""

    BY_SERVER = auto()  # the answer follows
    OVER = auto()  # it was over in the meantime
    NOT_BY_SERVER = auto()  # the server does no such thing, and it goes on


async def end_of_thinking(
    host: ChatHost | None, dialect: Dialect, clock: AnswerClock, thinks: Callable[[], bool]
) -> ThinkingEnd:
    """Have the server end the thinking. `thinks`: whether the same answer still thinks."""
    known = clock.answer_id
    if host is not None and dialect.control and known:
        from runner.chat.control import end_thinking  # noqa: PLC0415 - brings httpx2

        clock.ended_thinking = True
        if await end_thinking(host.endpoint, known):
            return ThinkingEnd.BY_SERVER
    return ThinkingEnd.NOT_BY_SERVER if thinks() else ThinkingEnd.OVER
