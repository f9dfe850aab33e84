"""What stands in front of the chat until it is dismissed, once."""

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

Chosen = TypeVar("Chosen")


class Overlay(ModalScreen[Chosen]):
    """A screen in front of the chat. Keys that come after the one that closes it do nothing.

    A second Enter can be on its way to the screen when the first one closes it (a key that bounces,
    keys that were typed while the machine was busy). `Screen.dismiss` of Textual 8 would take away
    whatever is then in front, and fail where that is the chat itself.
    """

    def dismiss(self, result: Chosen | None = None) -> AwaitComplete:
        """Close this, where it is still open and in front."""
        return super().dismiss(result) if self.is_current else AwaitComplete()
