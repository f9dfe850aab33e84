"""The help: every action with its command and its keys, as the wings list them."""

from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from runner.tui.actions import ActionGroup

COLUMN = 32
SIDE_BY_SIDE = 76  # cells; below, what an action does stands under its name


def help_content(groups: Iterable[ActionGroup], width: int) -> Content:
    """Return commands and keys for a screen of `width` cells."""
    parts: list[Content] = []
    for group in groups:
        parts.append(Content.styled(group.title, "bold $primary"))
        for action in group.actions:
            name = action.names
            if width >= SIDE_BY_SIDE and cell_len(name) < COLUMN:
                head, rest = name.ljust(COLUMN), action.does
            else:
                indent = COLUMN if width >= SIDE_BY_SIDE else 2
                head, rest = name, f"\n{' ' * indent}{action.does}"
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

    def __init__(self, groups: Iterable[ActionGroup]) -> None:
        super().__init__()
        self._groups = tuple(groups)

    def compose(self) -> ComposeResult:
        """Mount the text, which scrolls where the terminal is small."""
        with VerticalScroll(id="help"):
            yield Static(help_content(self._groups, self.app.size.width))
