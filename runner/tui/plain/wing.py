"""What a wing of the plain chat is: commands of one kind, and what carries them out."""

from typing import TYPE_CHECKING, ClassVar

from runner.tui.actions import Action

if TYPE_CHECKING:
    from runner.tui.plain.chat import PlainChat
    from runner.tui.plain.output import PlainOutput
    from runner.tui.plain.talk import PlainTalk


class PlainWing:
    """Some of the commands. Each of its methods takes what follows the command.

    `title` heads them in the help, as in the window.
    """

    title: ClassVar[str] = ""
    actions: ClassVar[tuple[Action, ...]] = ()

    def __init__(self, chat: "PlainChat") -> None:
        self.chat = chat

    @property
    def talk(self) -> "PlainTalk":
        """The course of the chat."""
        return self.chat.talk

    @property
    def out(self) -> "PlainOutput":
        """Where lines are printed."""
        return self.chat.talk.out
