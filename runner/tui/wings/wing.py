"""What a wing is: a part of the chat that brings its own commands, keys, panels and messages."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual.message import Message
from textual.widget import Widget

from runner.tui.actions import Action

if TYPE_CHECKING:
    from runner.tui.app import ChatApp

Hear = Callable[[Any, Any], Awaitable[None] | None]


class Wing:
    """One part of the chat. The app makes it, runs its actions and hands it messages.

    `title` heads its actions in the help. `hears`: which messages of widgets and of the app it
    wants, each with the method for it, before the app itself handles them.
    """

    title: ClassVar[str] = ""
    actions: ClassVar[tuple[Action, ...]] = ()
    hears: ClassVar[Mapping[type[Message], Hear]] = {}

    def __init__(self, chat: "ChatApp") -> None:
        self.chat = chat

    def panels(self) -> Iterable[Widget]:
        """Return the widgets to mount between the transcript and the composer."""
        return ()

    def started(self) -> None:
        """Begin: the window is mounted."""
