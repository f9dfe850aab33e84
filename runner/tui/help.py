"""The help: every action with its command and its keys, as the wings list them."""

from collections.abc import Iterable
from textwrap import wrap
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from runner.tui.actions import ActionGroup
from runner.tui.overlay import Overlay

WIDEST = 86  # cells, as in chat.tcss
FRAME = 7  # cells: border, padding, scrollbar
COLUMN = 28
SIDE_BY_SIDE = 70  # cells; below, what an action does stands under its name


def help_content(groups: Iterable[ActionGroup], width: int) -> Content:
    """Return commands and keys for a screen of `width` cells."""
    beside = width >= SIDE_BY_SIDE
    indent = COLUMN if beside else 2
    room = max(min(width, WIDEST) - (FRAME if beside else 3) - indent, 10)
    parts: list[Content] = []
    for group in groups:
        parts.append(Content.styled(group.title, "bold $primary"))
        for action in group.actions:
            name, lines = action.names, wrap(action.does, room)
            parts.append(Content.styled(name, "$text-accent"))
            if beside and cell_len(name) < COLUMN:
                parts[-1] += Content(" " * (COLUMN - cell_len(name)) + lines.pop(0))
            parts += [Content(" " * indent + line) for line in lines]
        parts.append(Content(""))
    tip = "Drop or paste an image's path to attach it."
    parts += [Content(line) for line in wrap(tip, indent + room)]
    parts.append(Content.styled("Esc closes this.", "$foreground-muted"))
    return Content("\n").join(parts)


class HelpScreen(Overlay[None]):
    """Shows the help until a key closes it."""

    AUTO_FOCUS = "#help"  # so that the keys scroll it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,enter", "dismiss", "Close", id="help.close"),
    ]

    def __init__(self, groups: Iterable[ActionGroup]) -> None:
        super().__init__()
        self._groups = tuple(groups)

    def compose(self) -> ComposeResult:
        """Mount the text, which scrolls where the terminal is small."""
        with VerticalScroll(id="help"):
            yield Static(self.content())

    def content(self) -> Content:
        """Return what it shows."""
        return help_content(self._groups, self.app.size.width)
