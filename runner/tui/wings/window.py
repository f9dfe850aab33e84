"""The window itself: scrolling, the palette, the help, the end."""

from textual.app import App

from runner.tui.actions import Action
from runner.tui.composer import Prompt
from runner.tui.help import HelpScreen
from runner.tui.shared import HELP, QUIT
from runner.tui.wings.built_in import built_in
from runner.tui.wings.wing import Wing


class Window(Wing):
    """What every program has: help, quit, scrolling."""

    title = "Window"

    def show_help(self, _: str) -> None:
        """Show commands and keys."""
        screen = HelpScreen(self.chat.groups)
        screen.set_class(self.chat.screen.has_class("-compact"), "-compact")
        self.chat.push_screen(screen)

    def follow(self, _: str) -> None:
        """Go to the end of the conversation and stay there."""
        self.chat.transcript.follow()

    async def leave(self, _: str) -> None:
        """End the chat."""
        await self.chat.action_quit()

    actions = (
        built_in(
            *(Prompt.BINDINGS, "transcript.up", "transcript.down"),
            does="scroll",
        ),
        Action(
            *("transcript.follow", "follow the answer again", follow),
            keys=("ctrl+end",),
            priority=True,
        ),
        Action("window.palette", "every command by name", keys=(App.COMMAND_PALETTE_BINDING,)),
        HELP.by(show_help, keys=("f1",)),
        QUIT.by(leave, keys=("ctrl+q",), priority=True),
    )
