"""A widget that draws one picture as large as there is room, with a frame on it if there is one."""

import asyncio
from functools import partial
from typing import Final

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from runner.base.errors import SteprunError
from runner.chat.wire import Picture
from runner.tui.crop_frame import CropFrame
from runner.tui.half_blocks import UPPER, cell_rows, fitted
from runner.tui.workshop import THE_WORKSHOP

DIMMED: Final = 3  # what is outside the frame has a third of its light
_BORDER: Final = Color.from_rgb(255, 215, 0)


class PictureCanvas(Widget):
    """Draws a picture in the middle; what it takes is made in a thread."""

    DEFAULT_CSS = "PictureCanvas { height: 1fr; width: 1fr; }"

    class Ready(Message):
        """The picture is drawn, at another size maybe: `frame` has the grid of its cells."""

    def __init__(self, picture: Picture, *, framed: bool = False) -> None:
        super().__init__()
        self.picture = picture
        self.frame: CropFrame | None = None
        self._framed = framed
        self._pixels = b""
        self._width = self._height = 0  # of the pixels
        self._failed = ""

    def show(self, picture: Picture) -> None:
        """Draw another picture."""
        self.picture = picture
        self._pixels = b""
        self.on_resize()

    def on_resize(self) -> None:
        """Draw the picture at the size that fits now."""
        columns, rows = self.size
        if columns and rows:
            width, height = fitted(self.picture.width, self.picture.height, columns, rows)
            self.run_worker(
                self._make(self.picture, width, height), exclusive=True, exit_on_error=False
            )

    async def _make(self, picture: Picture, width: int, height: int) -> None:
        make = partial(THE_WORKSHOP.pixels, picture, width, height)
        try:
            self._pixels, self._failed = await asyncio.to_thread(make), ""
        except SteprunError as error:
            self._pixels, self._failed, self.frame = b"", str(error), None
        self._width, self._height = width, height
        if self._framed and self._pixels:
            grid = width, cell_rows(height)
            self.frame = self.frame.fitted(*grid) if self.frame else CropFrame.middle(*grid)
        self.refresh()
        self.post_message(self.Ready())

    def render_line(self, y: int) -> Strip:
        """Draw a row."""
        style = self.rich_style
        above = max(0, (self.size.height - cell_rows(self._height)) // 2)
        row = y - above
        if not self._pixels or not 0 <= row < cell_rows(self._height):
            text = (self._failed or "…") if y == self.size.height // 2 and not self._pixels else ""
            return Strip([Segment(text[: self.size.width], style)]).adjust_cell_length(
                self.size.width, style
            )
        before = max(0, (self.size.width - self._width) // 2)
        cells = [self._cell(x, row) for x in range(self._width)]
        strip = Strip([Segment(" " * before, style), *cells]).simplify()
        return strip.adjust_cell_length(self.size.width, style)

    def _cell(self, x: int, row: int) -> Segment:
        upper = self._colour(x, 2 * row, row)
        lower = self._colour(x, 2 * row + 1, row)
        if self.frame and (border := self.frame.border(x, row)):
            return Segment(border, Style(color=_BORDER, bgcolor=upper, bold=True))
        return Segment(UPPER, Style(color=upper, bgcolor=lower))

    def _colour(self, x: int, y: int, row: int) -> Color | None:
        if y >= self._height:
            return None
        at = 3 * (y * self._width + x)
        red, green, blue = self._pixels[at : at + 3]
        if self.frame and not self.frame.contains(x, row):
            red, green, blue = red // DIMMED, green // DIMMED, blue // DIMMED
        return Color.from_rgb(red, green, blue)
