"""Refuses a message with a word that the engine's stack does not bear; it would end the engine.

The tokenizer of llama.cpp takes a run of one kind at a time (letters, blanks, all other signs), and
digits in threes; `runner.engine.process.stack` says what a run costs.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from runner.base.errors import Refused
from runner.chat.wire import Message

_RUN: Final = re.compile(r"[^\W\d_]+|\s+|(?:[^\w\s]|_)+")


def longest_run(text: str) -> int:
    """Return the characters of the longest run of one kind."""
    return max((found.end() - found.start() for found in _RUN.finditer(text)), default=0)


def holds_longer_run(text: str, limit: int) -> bool:
    """Tell whether a text has a run of more than `limit` characters, at little cost.

    Such a run holds one of every `limit` characters: only those that are around them are read.
    """
    for middle in range(limit, len(text), limit):
        after = _RUN.match(text, middle, middle + limit + 1)
        before = _RUN.match(text[middle - limit : middle + 1][::-1])
        if after and before and after.end() - middle + before.end() - 1 > limit:
            return True
    return False


def too_long_a_word(messages: Iterable[Message], limit: int) -> Refused | None:
    """Return why messages are not sent to an engine that bears `limit` characters in a run."""
    for text in (text for message in messages for text in _texts(message)):
        if holds_longer_run(text, limit):
            found = longest_run(text)
            return Refused(
                "The message was not sent.",
                why=f"It contains {found:,} characters without a break, and more than {limit:,} "
                "may end the engine on this system.",
                next="Put line breaks or digits into the long word, or leave it out.",
            )
    return None


def _texts(message: Message) -> Iterator[str]:
    yield message.text
    yield message.reasoning
    yield from (call.arguments for call in message.calls)
