"""Where the user types: several lines, pictures as chips above them, earlier messages on Up."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static, TextArea

from runner.base.text import clean
from runner.chat.export import price_text
from runner.chat.files.attached import (
    PICTURES,
    AttachedFile,
    Attachment,
    kept_of,
    own_pictures,
    typed_again,
)
from runner.chat.wire import Picture
from runner.tui.fit import ROOMY, chip_lines
from runner.tui.thumbnails import ThumbnailRow, composer_rows, thumbnails_of

PASTE_BYTES = 1 << 20
# A longer paste is folded: the field lays each of its lines out at every key.
FOLDED_CHARS, FOLDED_LINES = 4000, 60
CHIP_ROWS, CHIP_ROWS_COMPACT = 6, 2


CHOOSING: Final = ("tab", "enter", "up", "down", "escape")  # the keys of a list above the field


class TypedMessage(NamedTuple):
    """A message as it was typed, with its pictures and its files, whose pictures are the last."""

    text: str
    pictures: tuple[Picture, ...]
    files: tuple[AttachedFile, ...] = ()


class Prompt(TextArea):
    """The text field. Enter sends; a paste is checked for images first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                *(key, f"choose('{key}')", "Choose"),
                id=f"composer.choose_{key}",
                show=False,
                priority=True,
            )
            for key in CHOOSING
        ),
        Binding("enter", "send", "Send", id="composer.send", priority=True),
        Binding("shift+enter,ctrl+j", "newline", "New line", id="composer.newline", priority=True),
        Binding("up", "earlier", "Earlier message", id="composer.earlier", show=False),
        Binding("down", "later", "Later message", id="composer.later", show=False),
        Binding("pageup", "app.page(-1)", "Scroll up", id="transcript.up", show=False),
        Binding("pagedown", "app.page(1)", "Scroll down", id="transcript.down", show=False),
        Binding("backspace", "backspace", "Delete", id="composer.backspace", show=False),
        Binding("ctrl+v", "paste", "Paste", id="composer.paste", show=False),
        Binding("alt+v", "paste_picture", "Paste", id="composer.paste_picture", show=False),
    ]

    class Sent(Message):
        """Enter was pressed."""

    class Emptied(Message):
        """Backspace was pressed before the first character."""

    @dataclass
    class Pasted(Message):
        """Text was pasted or dropped; it is not in the field yet."""

        text: str

    @dataclass
    class ClipboardWanted(Message):
        """What the desktop has on its clipboard is to be pasted; `picture`: rather than text."""

        picture: bool

    def __init__(self) -> None:
        super().__init__(id="prompt", compact=True, show_line_numbers=False, tab_behavior="focus")
        self.sent_before: Callable[[], Sequence[str]] = tuple
        self.fold: Callable[[str], str] = str  # what stands for a long text in the field
        self.chooses: Callable[[str], None] | None = None  # while there is a list above the field
        self._recalled = 0  # how far back; 0: the user's own text
        self._recalled_as = ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the keys of a list to others while there is none."""
        if action == "choose":
            return self.chooses is not None
        return super().check_action(action, parameters)

    def action_choose(self, key: str) -> None:
        """Hand a key to the list above the field."""
        if self.chooses is not None:
            self.chooses(key)

    def action_send(self) -> None:
        """Hand the message over."""
        self.post_message(self.Sent())

    def action_newline(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def action_backspace(self) -> None:
        """Delete to the left; with nothing there, a picture."""
        if self.cursor_location == (0, 0) and self.selection.is_empty:
            self.post_message(self.Emptied())
        else:
            self.action_delete_left()

    def action_paste(self) -> None:
        """Paste from the desktop's clipboard."""
        self.post_message(self.ClipboardWanted(picture=False))

    def action_paste_picture(self) -> None:
        """Paste from the desktop's clipboard: the picture, where it has one and text, too."""
        self.post_message(self.ClipboardWanted(picture=True))

    def action_earlier(self) -> None:
        """Recall the message before, where nothing else is typed; else move up."""
        if not self._may_recall() or not self._recall(self._recalled + 1):
            self.action_cursor_up()

    def action_later(self) -> None:
        """Recall the message after, or move down."""
        at_end = self.cursor_location[0] == self.document.line_count - 1
        if not (self._recalled and at_end and self._may_recall(anywhere=True)):
            self.action_cursor_down()
        else:
            self._recall(self._recalled - 1)

    def _may_recall(self, *, anywhere: bool = False) -> bool:
        if not self.text:
            self._recalled = 0
            return True
        past = list(self.sent_before())
        same = 0 < self._recalled <= len(past) and self._recalled_as == self.text
        return same and (anywhere or self.cursor_location[0] == 0)

    def _recall(self, back: int) -> bool:
        past = list(self.sent_before())
        if not 0 <= back <= len(past):
            return False
        self._recalled = back
        self.text = self._recalled_as = self.fold(past[-back]) if back else ""
        self.move_cursor(self.document.end)
        return True

    async def _on_key(self, event: events.Key) -> None:
        """Leave Alt with a letter to the bindings: terminals send the letter, and it is no text."""
        if event.key.startswith("alt+"):
            event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        """Let the chat decide whether it is a picture; it hands text back."""
        event.stop()
        event.prevent_default()
        self.post_message(self.Pasted(event.text))


# Cells: margin, border and padding on both sides, and a gap.
_FRAME, _FRAME_COMPACT = 8, 3
_FOLD = re.compile(r"\[Pasted #(\d+): [\d,]+ (?:lines|characters)\]")


class Composer(Vertical):
    """The text field and the chips of the pictures that go with it."""

    def __init__(self, *, prices: bool, expected_rate: float = 0) -> None:
        super().__init__(id="composer")
        self._prices = prices
        self.rate = 0.0  # tokens of a prompt that are read in a second, 0 where unknown
        self._expected_rate = expected_rate
        self._chips = Static(id="chips")
        self._thumbnails = ThumbnailRow(id="thumbnails")
        self.prompt = Prompt()
        self.prompt.fold = self._fold
        self.pictures: list[Picture] = []
        self.files: tuple[AttachedFile, ...] = ()  # what the message mentions, once it is ready
        self.file_pictures: tuple[Picture, ...] = ()
        self.kept: dict[str, Attachment] = {}  # files of messages that were given back, by name
        self._folded: dict[str, str] = {}  # long texts, by the marks that stand for them

    def compose(self) -> ComposeResult:
        """Mount the chips above the field."""
        self._chips.display = self._thumbnails.display = False
        with Horizontal(id="attached"):
            yield self._thumbnails
            yield self._chips
        yield self.prompt

    @property
    def text(self) -> str:
        """What is typed, and what is folded in it."""
        return _FOLD.sub(lambda fold: self._folded.get(fold[0], fold[0]), self.prompt.text)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send or to keep."""
        return not self.prompt.text.strip() and not self.pictures

    def insert(self, text: str) -> None:
        """Put text where the cursor is, in place of what is selected; fold it if it is long."""
        result = self.prompt.replace(
            self._fold(clean(text)), *self.prompt.selection, maintain_selection_offset=False
        )
        self.prompt.move_cursor(result.end_location)

    def _fold(self, text: str) -> str:
        """Return what stands for a text in the field: itself, or a mark where it is long."""
        lines = text.count("\n") + 1
        if len(text) <= FOLDED_CHARS and lines <= FOLDED_LINES:
            return text
        there = {found[0]: int(found[1]) for found in _FOLD.finditer(self.prompt.text)}
        number = 1 + max(there.values(), default=0)
        size = f"{lines:,} lines" if lines > 1 else f"{len(text):,} characters"
        mark = f"[Pasted #{number}: {size}]"
        left = {fold: folded for fold, folded in self._folded.items() if fold in there}
        self._folded = {**left, mark: text}
        return mark

    def attach(self, picture: Picture) -> bool:
        """Add a picture. Returns False where there are enough."""
        if len(self.pictures) >= PICTURES:
            return False
        self.pictures.append(picture)
        self._show_chips()
        return True

    def know(
        self, *, prices: bool | None = None, rate: float = 0, expected_rate: float = 0
    ) -> None:
        """Take over what was not known when the chat began, 0 and None where it is not yet.

        `prices`: images cost what they do with Step; `rate`: tokens that are read in a second, as
        measured; `expected_rate`: as the plan expects.
        """
        self._prices = self._prices if prices is None else prices
        self.rate = rate or self.rate
        self._expected_rate = expected_rate or self._expected_rate
        self._show_chips()

    def price(self, tokens: int) -> str:
        """Return what so many tokens cost, empty where the model is another one."""
        rate = self.rate or self._expected_rate
        return price_text(tokens, rate, estimated=not self.rate) if self._prices else ""

    def detach_all(self) -> None:
        """Take all pictures off."""
        self.pictures.clear()
        self._show_chips()

    def detach(self, number: int = 0) -> bool:
        """Take picture `number` off (1 is the first, 0 means the last). False: there is none."""
        if not self.pictures or not 0 <= number <= len(self.pictures):
            return False
        self.pictures.pop(number - 1)
        self._show_chips()
        return True

    def swap(self, old: Picture, new: Picture) -> bool:
        """Put a picture in the place of another. False: that is not attached any more."""
        places = [place for place, each in enumerate(self.pictures) if each is old]
        for place in places[-1:]:
            self.pictures[place] = new
        self._show_chips()
        return bool(places)

    def take(self) -> TypedMessage:
        """Return what is to be sent, and be empty."""
        pictures = (*self.pictures, *self.file_pictures)
        taken = TypedMessage(self.text.strip(), pictures, self.files)
        self.prompt.clear()
        self.pictures.clear()
        self.files = self.file_pictures = ()
        self.kept.clear()
        self._show_chips()
        return taken

    def give_back(
        self, text: str, pictures: Sequence[Picture], files: Sequence[AttachedFile] = ()
    ) -> None:
        """Put a message back that was not sent, before what was typed since."""
        self.kept |= kept_of(tuple(files), tuple(pictures))
        text = typed_again(self._fold(text), files)
        self.prompt.text = "\n".join(part for part in (text, self.prompt.text) if part)
        self.prompt.move_cursor(self.prompt.document.end)
        self.pictures[:0] = own_pictures(pictures, files)
        self._show_chips()

    def on_resize(self) -> None:
        """Show as many chips as there is room for."""
        self._show_chips()

    def pictures_arrived(self) -> None:
        """Draw the thumbnails that have been made, or leave out those that are off."""
        if self.pictures:
            self._show_chips()

    def _show_chips(self) -> None:
        rows = CHIP_ROWS if self.app.size.height >= ROOMY else CHIP_ROWS_COMPACT
        frame = _FRAME_COMPACT if self.screen.has_class("-compact") else _FRAME
        lines = chip_lines(
            self.pictures,
            rows,
            prices=self._prices,
            rate=self.rate or self._expected_rate,
            estimated=not self.rate,
            width=self.app.size.width - frame,
        )
        self._chips.display = bool(lines)
        self._chips.update(Content("\n".join(lines)))
        # What is left beside the longest line; the frame and the gap take some of the width.
        room = self.app.size.width - max(map(cell_len, lines), default=0) - frame
        high = composer_rows(self.app.size)
        beside = thumbnails_of(self.app).beside(self.pictures, room, high)
        self._thumbnails.show(beside, self.pictures)
