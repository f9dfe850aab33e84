"""Pictures on a screen of their own: looked at, or cropped."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from runner.base.text import clean_name
from runner.chat.export import TIMES
from runner.chat.images.tokens import image_tokens
from runner.chat.wire import Picture
from runner.tui.overlay import Overlay
from runner.tui.picture_canvas import PictureCanvas

Price = Callable[[int], str]
"""Returns what so many tokens cost, as it is shown; empty where the model is another one."""

Box = tuple[int, int, int, int]


class LargePicture(Overlay[None]):
    """Shows pictures, one at a time, as large as there is room."""

    DEFAULT_CSS = """
    LargePicture { background: $background; }
    LargePicture Static { height: 1; color: $foreground-muted; text-overflow: ellipsis;
        text-wrap: nowrap; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "Close", id="view.close"),
        Binding("left,up,pageup", "step(-1)", "Earlier", id="view.earlier"),
        Binding("right,down,pagedown,space", "step(1)", "Later", id="view.later"),
    ]

    def __init__(self, pictures: Sequence[Picture], place: int, price: Price) -> None:
        super().__init__()
        self._pictures = pictures
        self._place = place
        self._price = price
        self._canvas = PictureCanvas(pictures[place])
        self._line = Static()

    def compose(self) -> ComposeResult:
        """Mount the picture and the line below it."""
        with Vertical():
            yield self._canvas
            yield self._line

    def on_mount(self) -> None:
        """Say what it is."""
        self._describe()

    def action_step(self, by: int) -> None:
        """Show an earlier picture, or a later one."""
        place = min(max(0, self._place + by), len(self._pictures) - 1)
        if place != self._place:
            self._place = place
            self._canvas.show(self._pictures[place])
            self._describe()

    def _describe(self) -> None:
        picture = self._pictures[self._place]
        several = len(self._pictures) > 1
        parts = (
            f"{self._place + 1} of {len(self._pictures)}" if several else "",
            f"{clean_name(picture.name)} {picture.width}{TIMES}{picture.height}",
            self._price(picture.tokens),
            "Arrows: others" if several else "",
            "Esc closes",
        )
        self._line.update(Content(" · ".join(filter(None, parts))))


class CropScreen(Overlay[Box | None]):
    """Returns the part of a picture that the user has framed, in its pixels; None: not any."""

    DEFAULT_CSS = """
    CropScreen { background: $background; }
    CropScreen Static { height: auto; color: $foreground-muted; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Close", id="crop.close"),
        Binding("enter", "take", "Crop", id="crop.take"),
        *(
            Binding(f"{shift}{key}", f"{action}({right}, {down})", action.capitalize())
            for shift, action in (("", "move"), ("shift+", "resize"))
            for key, right, down in (
                ("left", -1, 0),
                ("right", 1, 0),
                ("up", 0, -1),
                ("down", 0, 1),
            )
        ),
        Binding("plus", "grow(1)", "Larger", id="crop.larger"),
        Binding("minus", "grow(-1)", "Smaller", id="crop.smaller"),
    ]

    def __init__(self, picture: Picture, price: Price) -> None:
        super().__init__()
        self._picture = picture
        self._price = price
        self._canvas = PictureCanvas(picture, framed=True)
        self._line = Static()

    def compose(self) -> ComposeResult:
        """Mount the picture and the lines below it."""
        with Vertical():
            yield self._canvas
            yield self._line

    @on(PictureCanvas.Ready)
    def _ready(self) -> None:
        self._describe()

    def action_move(self, right: int, down: int) -> None:
        """Move the frame."""
        if (frame := self._canvas.frame) is not None:
            self._canvas.reframe(frame.moved(right, down))
            self._describe()

    def action_resize(self, right: int, down: int) -> None:
        """Move the right and lower edge of the frame."""
        if (frame := self._canvas.frame) is not None:
            self._canvas.reframe(frame.resized(right, down))
            self._describe()

    def action_grow(self, by: int) -> None:
        """Make the frame larger or smaller on all sides."""
        if (frame := self._canvas.frame) is not None:
            self._canvas.reframe(frame.grown(by))
            self._describe()

    def action_take(self) -> None:
        """Return what is framed."""
        self.dismiss(self._box)

    def action_leave(self) -> None:
        """Return nothing."""
        self.dismiss(None)

    @property
    def _box(self) -> Box | None:
        frame = self._canvas.frame
        return frame.box(self._picture.width, self._picture.height) if frame else None

    def _describe(self) -> None:
        if (box := self._box) is None:
            return
        width, height = box[2] - box[0], box[3] - box[1]
        whole = f"{self._picture.width}{TIMES}{self._picture.height}"
        price = self._price(image_tokens(width, height))
        before = f"{self._picture.tokens:,} before" if price else ""
        size = (
            f"{width}{TIMES}{height}"
            if self.size.width < 60
            else f"{width}{TIMES}{height} of {whole}"
        )
        what = " · ".join(filter(None, (size, price, before)))
        keys = "Arrows move · Shift+arrows, + and - resize · Enter crops · Esc closes"
        self._line.update(Content(f"{what}\n{keys}" if self.size.height > 12 else what))
