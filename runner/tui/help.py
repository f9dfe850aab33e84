"""The help: commands and keys, from the tables that the chat itself uses."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from runner.tui.slash_commands import COMMANDS, KEYS

COLUMN = 24
SIDE_BY_SIDE = 60  # cells; below, what a key does stands under it


def help_content(width: int) -> Content:
    """Return commands and keys for a screen of `width` cells."""
    parts: list[Content] = []
    for title, rows in (
        ("Commands", [(command.usage, command.help) for command in COMMANDS]),
        ("Keys", list(KEYS)),
    ):
        parts.append(Content.styled(title, "bold $primary"))
        for name, text in rows:
            if width >= SIDE_BY_SIDE:
                head, rest = name.ljust(COLUMN), text
            else:
                head, rest = name, f"\n   {text}"
            parts.append(Content.assemble((head, "$text-accent"), rest))
        parts.append(Content(""))
    parts.append(Content("Drop or paste an image's path to attach it."))
    parts.append(Content.styled("Esc closes this.", "$foreground-muted"))
    return Content("\n").join(parts)


class HelpScreen(ModalScreen[None]):
    """Shows the help until a key closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,enter", "dismiss", "Close", id="help.close"),
    ]

    def compose(self) -> ComposeResult:
        """Mount the text, which scrolls where the terminal is small."""
        with VerticalScroll(id="help"):
            yield Static(help_content(self.app.size.width))
