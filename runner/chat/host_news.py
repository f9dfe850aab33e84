"""What memory does to the host of a chat: said to the user, and known to the chat."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol, runtime_checkable

from runner.base.beside import beside
from runner.chat.host import ChatSetup

BLIND: Final = "The vision encoder is off for now, as memory was short."


@dataclass(frozen=True, slots=True)
class HostNews:
    """Something has changed at the host.

    `words`: for the user. `context` in tokens, 0 where it is not known, and `sees`: as they are
    from now on.
    """

    words: str
    context: int = 0
    sees: bool = False

    def known(self, setup: ChatSetup) -> ChatSetup:
        """Return what a chat starts from with what is true now."""
        blind_why = BLIND if setup.sees and not self.sees else setup.blind_why
        context = self.context or setup.context
        return replace(setup, context=context, sees=self.sees, blind_why=blind_why)


@runtime_checkable
class TellsNews(Protocol):
    """A host that says what changes."""

    async def news(self, report: Callable[[HostNews], object]) -> None:
        """Tell what changes, until cancelled."""


def hearing(
    host: object, report: Callable[[HostNews], object]
) -> AbstractAsyncContextManager[None]:
    """Within the block, pass on what a host tells."""
    return beside(host.news(report) if isinstance(host, TellsNews) else None, "news")
