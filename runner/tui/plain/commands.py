"""What can be typed in a plain chat: the commands of all its wings, and which wing runs each."""

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from runner.base.errors import UsageError
from runner.tui import shared
from runner.tui.actions import Action, ActionGroup, by_command
from runner.tui.plain.attaching import PlainAttaching
from runner.tui.plain.chats import PlainChats
from runner.tui.plain.choices import PlainChoices
from runner.tui.plain.messages import PlainMessages
from runner.tui.plain.tools import PlainTools
from runner.tui.plain.versions import PlainVersions
from runner.tui.plain.wing import PlainWing

if TYPE_CHECKING:
    from runner.tui.plain.chat import PlainChat

SomeWing = TypeVar("SomeWing", bound=PlainWing)

HELP_AFTER: Final = (
    "A line is a message. A backslash at its end continues it in the next line; lines that are "
    "pasted together are one message. The path of an image attaches it; in a line that you type, "
    "@PATH attaches a file.",
    "Ctrl+C stops an answer; twice, it ends the chat, as Ctrl+D does. /answer, typed while the "
    "model thinks, ends the thinking.",
)


class PlainHelp(PlainWing):
    """Lists the commands, and ends the chat."""

    title = "This chat"

    def show(self, _: str) -> None:
        """Say what can be typed."""
        for group in PlainCommands.groups:
            self.out.say(f"{group.title}:")
            for action in group.actions:
                self.out.say(f"{action.usage}: {action.does}")
        for line in HELP_AFTER:
            self.out.say(line)

    def leave(self, _: str) -> None:
        """End the chat."""
        self.chat.left = True

    actions = (
        replace(shared.HELP.by(show), does="list the commands"),
        shared.QUIT.by(leave),
    )


# In the order of the help.
WINGS: Final[tuple[type[PlainWing], ...]] = (
    *(PlainMessages, PlainAttaching, PlainVersions, PlainChoices),
    *(PlainTools, PlainChats, PlainHelp),
)


class PlainCommands:
    """The wings of a chat, and their commands."""

    groups: ClassVar[tuple[ActionGroup, ...]] = tuple(
        ActionGroup(wing.title, wing.actions) for wing in WINGS
    )
    commands: ClassVar[Mapping[str, Action]] = by_command(groups)

    def __init__(self, chat: "PlainChat") -> None:
        self._wings = {kind: kind(chat) for kind in WINGS}
        self._owners = {action.id: wing for wing in self._wings.values() for action in wing.actions}

    def wing(self, kind: type[SomeWing]) -> SomeWing:
        """Return the wing of a kind."""
        wing = self._wings[kind]
        assert isinstance(wing, kind)  # noqa: S101 - it was made so
        return wing

    def run(self, action: Action, args: str) -> Awaitable[None] | None:
        """Begin what a command does. Raises `UsageError` for one without what it needs."""
        if action.needs_args and not args:
            raise UsageError(f"Type {action.usage}.", why=f"{action.sentence}.")
        return action.run(self._owners[action.id], args) if action.run is not None else None
