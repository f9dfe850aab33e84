"""A widget that draws one picture as large as there is room, with a frame on it if there is one."""

import asyncio
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final, NamedTuple, Self

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.style import Style as VisualStyle
from textual.widget import Widget

from runner.base.errors import SteprunError
from runner.chat.wire import Picture
from runner.tui.apart import in_workshop
from runner.tui.crop_frame import CropFrame
from runner.tui.half_blocks import UPPER, fitted
from runner.tui.thumbnails import Drawing, thumbnails_of

DIMMED: Final = 3  # what is outside the frame has a third of its light
_BORDER: Final = Color.from_rgb(255, 215, 0)


class Cells(NamedTuple):
    """A picture as cells, row by row: as it is, and with little light."""

    bright: list[list[Segment]]
    dim: list[list[Segment]]

    @classmethod
    def of(cls, pixels: bytes, width: int) -> Self:
        """Return the cells of pixels of three bytes each, `width` in a row."""
        dimmed = bytes(value // DIMMED for value in pixels)
        return cls(*([*_rows(each, width)] for each in (pixels, dimmed)))


def _rows(pixels: bytes, width: int) -> Iterator[list[Segment]]:
    lines = [
        [Color.from_rgb(*pixels[at : at + 3]) for at in range(start, start + 3 * width, 3)]
        for start in range(0, len(pixels), 3 * width)
    ]
    for above, below in zip_longest(lines[::2], lines[1::2]):
        yield [
            Segment(UPPER, Style(color=upper, bgcolor=lower))
            for upper, lower in zip(above, below or [None] * width, strict=True)
        ]


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
        self._cells: Cells | None = None
        self._drawing: Drawing | None = None
        self._failed = ""

    def show(self, picture: Picture) -> None:
        """Draw another picture."""
        self.picture = picture
        self._cells = None
        self.refresh()
        self.on_resize()

    def reframe(self, frame: CropFrame) -> None:
        """Move the frame, by a cell at most: no more than its edges is drawn again."""
        before, self.frame = self.frame, frame
        left, top = self._corner()
        for each in filter(None, (before, frame)):
            right, bottom = each.left + each.wide - 1, each.top + each.high - 1
            edges = (
                Region(each.left, each.top, each.wide, 1),
                Region(each.left, bottom, each.wide, 1),
                Region(each.left, each.top, 1, each.high),
                Region(right, each.top, 1, each.high),
            )
            self.refresh(*(edge.translate((left, top)) for edge in edges))

    def on_resize(self) -> None:
        """Draw the picture at the size that fits now."""
        columns, rows = self.size
        if columns and rows:
            width, height = fitted(self.picture.width, self.picture.height, columns, rows)
            self.run_worker(
                self._make(self.picture, width, height), exclusive=True, exit_on_error=False
            )

    async def _make(self, picture: Picture, width: int, height: int) -> None:
        try:
            if self._framed:
                cells = await in_workshop(
                    lambda shop: Cells.of(shop.pixels(picture, width, height), width)
                )
            else:
                cells = await self._drawn(picture, width, height)
            self._cells, self._failed = cells, ""
        except SteprunError as error:
            self._cells, self._failed, self.frame = None, str(error), None
        if self._framed and self._cells:
            grid = width, len(self._cells.bright)
            self.frame = self.frame.fitted(*grid) if self.frame else CropFrame.middle(*grid)
        self.refresh()
        self.post_message(self.Ready())

    async def _drawn(self, picture: Picture, width: int, height: int) -> Cells:
        """Draw the picture as thumbnails are drawn: by the terminal itself where it can."""
        drawing = await thumbnails_of(self.app).drawn(picture, width, height)
        self._let_go()
        self._drawing = drawing
        lines = await asyncio.to_thread(drawing.lines)
        rows = [
            [Segment(text, style.rich_style) for text, style in line.render(VisualStyle(), end="")]
            for line in lines
        ]
        return Cells(rows, [])

    def _let_go(self) -> None:
        if self._drawing is not None:
            self._drawing.forget()
        self._drawing = None

    def on_unmount(self) -> None:
        """Have the terminal forget the picture."""
        self._let_go()

    def _corner(self) -> tuple[int, int]:
        """Return the column and row of the picture's first cell."""
        if not self._cells:
            return 0, 0
        rows = self._cells.bright
        width, height = self.size
        across = sum(segment.cell_length for segment in rows[0])
        return max(0, (width - across) // 2), max(0, (height - len(rows)) // 2)

    def render_line(self, y: int) -> Strip:
        """Draw a row."""
        left, top = self._corner()
        segments = [Segment(" " * left, self.rich_style)]
        if self._cells and 0 <= y - top < len(self._cells.bright):
            segments += self._row(self._cells, y - top)
        elif not self._cells and y == self.size.height // 2:
            segments = [Segment((self._failed or "…")[: self.size.width], self.rich_style)]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _row(self, cells: Cells, y: int) -> list[Segment]:
        frame, bright = self.frame, cells.bright[y]
        if frame is None:
            return bright
        row, start, end = list(cells.dim[y]), frame.left, frame.left + frame.wide
        if not frame.contains(start, y):
            return row
        row[start:end] = bright[start:end]
        for x in range(start, end):
            if border := frame.border(x, y):
                style = bright[x].style
                below = style.color if style else None
                row[x] = Segment(border, Style(color=_BORDER, bgcolor=below, bold=True))
        return row
