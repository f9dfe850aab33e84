"""A list to choose from: typing narrows it down, Enter takes what is marked, Esc takes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from rich.cells import cell_len, set_cell_size
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from runner.base.text import clean
from runner.tui.overlay import Overlay

PLACEHOLDER: Final = "Type to narrow it down"
MOST: Final = 200  # rows shown; of more, typing a word finds the one that is wanted
WIDEST: Final = 86  # cells, as in `Chooser.DEFAULT_CSS`
FRAME: Final = 5  # cells: border, padding, scrollbar
GAP: Final = 2
ROW_CHARS: Final = 300  # of a text, wider than any terminal shows in a row


@dataclass(frozen=True, slots=True)
class Choice:
    """A row of the list. `value`: what is returned for it; `detail` stands behind the text."""

    text: str
    value: Any
    detail: str = ""


def matching(choices: Sequence[Choice], typed: str) -> list[Choice]:
    """Return the choices that contain every word that is typed, in any case. Pure."""
    words = typed.casefold().split()
    return [
        choice
        for choice in choices
        if all(word in f"{choice.text} {choice.detail}".casefold() for word in words)
    ]


def row(choice: Choice, room: int) -> Content:
    """Return a choice as one line of `room` cells; its text has half of them at least. Pure."""
    words = (choice.text, choice.detail)
    text, detail = (" ".join(clean(each[:ROW_CHARS]).split()) for each in words)
    text = _cut(text or "(empty)", max(room - cell_len(detail) - GAP, room // 2))
    detail = _cut(detail, room - cell_len(text) - GAP)
    return Content.assemble(text, (f"{' ' * GAP}{detail}", "$foreground-muted"))


def _cut(text: str, cells: int) -> str:
    if cell_len(text) <= cells:
        return text
    return f"{set_cell_size(text, max(cells - 1, 0)).rstrip()}…"


class Chooser(Overlay[Any]):
    """Returns the value of the chosen row, None where none was chosen."""

    DEFAULT_CSS = """
    Chooser { align: center middle; background: $background 70%; }
    Chooser > Vertical {
        width: 86; max-width: 100%; height: auto; max-height: 90%;
        padding: 0 1; border: round $primary 60%; background: $background;
    }
    Chooser OptionList {
        border: none; padding: 0; background: $background; height: auto; max-height: 16;
        text-wrap: nowrap; text-overflow: ellipsis; scrollbar-size-vertical: 1;
    }
    Chooser OptionList:focus { border: none; }
    Chooser Input { border: none; padding: 0; height: 1; background: $surface; }
    Chooser Static { color: $foreground-muted; height: auto; }
    Chooser.-compact > Vertical { border: none; padding: 0; max-height: 100%; }
    Chooser.-compact OptionList { max-height: 6; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", id="chooser.close"),
        Binding("up", "move('cursor_up')", "Up", id="chooser.up", priority=True),
        Binding("down", "move('cursor_down')", "Down", id="chooser.down", priority=True),
        Binding("pageup", "move('page_up')", "Up a page", id="chooser.page_up", priority=True),
        Binding(
            "pagedown", "move('page_down')", "Down a page", id="chooser.page_down", priority=True
        ),
    ]

    def __init__(self, title: str, choices: Sequence[Choice], *, keys: str = "") -> None:
        """`keys`: what further keys do, as the last line says it."""
        super().__init__()
        self._title = title
        self._keys = " · ".join(filter(None, ("Enter chooses", keys, "Esc closes")))
        self.choices = list(choices)
        self._shown: list[Choice] = []
        self.list = OptionList(compact=True)
        self.list.can_focus = False
        self.filter = Input(placeholder=PLACEHOLDER, compact=True)
        self._head = Static()

    def compose(self) -> ComposeResult:
        """Mount the field, the list and the line of keys."""
        with Vertical():
            yield self._head
            yield self.filter
            yield self.list
            yield Static(Content(self._keys))

    def on_mount(self) -> None:
        """Show everything, and take the keys."""
        self.set_class(self.app.screen_stack[0].has_class("-compact"), "-compact")
        self.set_focus(self.filter)  # at once: the next keys are for it

    def on_resize(self) -> None:
        """Fit the rows to the new width."""
        self.show(self.list.highlighted or 0)

    def show(self, mark: int = 0) -> None:
        """Show what matches, with a row marked."""
        found = self.found()
        self._shown = found[:MOST]
        room = min(self.app.size.width, WIDEST) - FRAME
        self.list.set_options(Option(row(choice, room)) for choice in self._shown)
        if self._shown:
            self.list.highlighted = min(mark, len(self._shown) - 1)
        self.headline(Content(self.head(self.count(len(found)))))

    def found(self) -> list[Choice]:
        """Return the choices that match what is typed."""
        return matching(self.choices, self.filter.value)

    def count(self, found: int) -> str:
        """Return in words how many of the choices are found."""
        total = len(self.choices)
        return f"{total:,}" if found == total else f"{found:,} of {total:,}"

    def head(self, count: str) -> str:
        """Return what stands above the list. `count`: see the method of this name."""
        return " · ".join(filter(None, (self._title, count)))

    def headline(self, content: Content) -> None:
        """Show what stands above the list."""
        self._head.update(content)

    @property
    def marked(self) -> Choice | None:
        """The choice that is marked, None where nothing matches."""
        place = self.list.highlighted
        return self._shown[place] if place is not None and place < len(self._shown) else None

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.typed()

    def typed(self) -> None:
        """Narrow the list down."""
        self.show()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.entered()

    def entered(self) -> None:
        """Choose what is marked."""
        if self.marked is not None:
            self.dismiss(self.marked.value)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._shown[event.option_index].value)

    def action_move(self, where: str) -> None:
        """Move the mark: `where` is an action of `OptionList`."""
        getattr(self.list, f"action_{where}")()
