"""What a change costs, before it is made: how much is read again, and for how long."""

from typing import Protocol

from runner.base.units import duration
from runner.chat.conversation import Conversation
from runner.chat.reading import read_rate


class HasConversation(Protocol):
    """A chat."""

    @property
    def conversation(self) -> Conversation:
        """What was said so far."""


def reading_again(chat: HasConversation) -> str:
    """Return what it costs to change the beginning of the prompt; empty where nothing is read yet.

    It begins with a blank, to stand behind what the change is.
    """
    conversation = chat.conversation
    used = conversation.context_used()
    if not used:
        return ""
    rates = (read_rate(turn.usage) for turn in reversed(conversation.turns))
    rate = next(filter(None, rates), 0.0)
    seconds = f", about {duration(max(1, used / rate))}" if rate else ""
    return f" The next message reads all {used:,} tokens again{seconds}."
