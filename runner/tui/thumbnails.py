"""Thumbnails: made in a thread, once for each picture and size, and kept within a bound.

Until one is there its place is blank, so that nothing moves when it arrives. All are rows of text:
half blocks, or the placeholders of a terminal that draws pictures itself.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import randrange
from typing import Any, Final, NamedTuple

from textual.app import App
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from runner.base.errors import SteprunError
from runner.chat.wire import Picture
from runner.tui.apart import in_workshop
from runner.tui.half_blocks import GAP, cell_rows, fitted, half_block_rows, side_by_side
from runner.tui.kitty import (
    MOST_IDS,
    NUMBERS,
    deletion,
    has_placeholders,
    placeholder_rows,
    transmission,
)

# A thumbnail of 40 by 10 cells has 2,400 bytes in half blocks, as a PNG for a terminal some
# 50,000. Kitty keeps 320 MB of them.
KEPT_BYTES: Final = 32 << 20
CELL_PX: Final = (10, 20)  # of a picture for a cell of the terminal, which scales it
# Rows and columns of a terminal below which there is no room for pictures.
LEAST_ROWS, LEAST_COLUMNS = 20, 60
COLOURS: Final = frozenset({"256", "truecolor"})  # with 16 a picture is not to be made out

# What is in a picture, and the size of the thumbnail in pixels.
ThumbnailKey = tuple[int, int, int, int]


@dataclass
class PictureWanted(Message):
    """The user wants to see a picture large."""

    picture: Picture


def composer_rows(screen: tuple[int, int]) -> int:
    """Return how many rows a thumbnail has above the field: 0 where there is no room."""
    columns, rows = screen
    return min(6, rows // 8) if rows >= LEAST_ROWS and columns >= LEAST_COLUMNS else 0


def turn_rows(screen: tuple[int, int]) -> int:
    """Return how many rows a thumbnail has in a question: 0 where there is no room."""
    columns, rows = screen
    return min(12, rows // 4) if rows >= LEAST_ROWS and columns >= LEAST_COLUMNS else 0


class HalfBlocks(NamedTuple):
    """Pixels of three bytes each, `width` in a row; none where the picture cannot be drawn."""

    pixels: bytes
    width: int
    height: int

    @property
    def size(self) -> int:
        """The bytes of the pixels."""
        return len(self.pixels)

    def lines(self) -> list[Content]:
        """Return its rows of text."""
        if not self.pixels:
            return [Content(" " * self.width)] * cell_rows(self.height)
        return half_block_rows(self.pixels, self.width)

    def forget(self) -> None:
        """Do nothing: all of it is here."""


class InTerminal(NamedTuple):
    """A picture that the terminal has, and draws in these cells."""

    image: int
    columns: int
    rows: int
    size: int
    write: Callable[[str], object]

    def lines(self) -> list[Content]:
        """Return its rows of text."""
        return placeholder_rows(self.image, self.columns, self.rows)

    def forget(self) -> None:
        """Have the terminal forget it."""
        self.write(deletion(self.image))


Drawing = HalfBlocks | InTerminal
"""A thumbnail that has been made."""


class Shown(NamedTuple):
    """A thumbnail of that size in pixels of half blocks; None: it is being made."""

    width: int
    height: int
    drawing: Drawing | None

    def lines(self) -> list[Content]:
        """Return its rows of text, blank ones where there is nothing to be seen yet."""
        return (self.drawing or HalfBlocks(b"", self.width, self.height)).lines()


class Beside(NamedTuple):
    """Thumbnails that stand beside one another."""

    shown: tuple[Shown, ...]

    @property
    def state(self) -> tuple[tuple[int, int, int], ...]:
        """What decides how they look."""
        return tuple((each.width, each.height, id(each.drawing)) for each in self.shown)

    def at(self, x: int) -> int | None:
        """Return which of them is in a column, None where none is."""
        start = 0
        for place, each in enumerate(self.shown):
            if start <= x < start + each.width:
                return place
            start += each.width + GAP
        return None

    def lines(self) -> list[Content]:
        """Return their rows of text."""
        return side_by_side([each.lines() for each in self.shown], [w for w, *_ in self.shown])


class ThumbnailRow(Static):
    """Shows thumbnails beside one another; a click wants one of them large."""

    _beside = Beside(())
    _pictures: Sequence[Picture] = ()

    def show(self, beside: Beside, pictures: Sequence[Picture]) -> None:
        """Show the thumbnails of these pictures, or nothing."""
        self._beside, self._pictures = beside, tuple(pictures)
        self.display = bool(beside.shown)
        self.update(Content("\n").join(beside.lines()))

    def on_click(self, event: Click) -> None:
        """Say which picture was clicked."""
        event.stop()
        if (place := self._beside.at(event.x)) is not None:
            self.post_message(PictureWanted(self._pictures[place]))


def draws_itself(colours: str | None, terminal: str, *, no_color: bool) -> bool:
    """Return whether the terminal draws pictures, and is told exactly which.

    A placeholder names its picture by its colour, which must arrive as it is. `colours`: how many
    the terminal has, as Rich says it.
    """
    return colours == "truecolor" and not no_color and has_placeholders(terminal)


class Thumbnails:
    """The thumbnails of one window.

    `start` runs a coroutine beside the interface; `arrived` is called when there is a new one.
    `write`: gives text to a terminal that draws pictures itself; None where it does not.
    """

    def __init__(
        self, start: Callable[[Coroutine[Any, Any, None]], object], arrived: Callable[[], object]
    ) -> None:
        self.on = True
        self.write: Callable[[str], object] | None = None
        # Another one than those of a program before this in the same terminal.
        self._image = randrange(1 << 16, MOST_IDS)  # noqa: S311
        self._start = start
        self._arrived = arrived
        self._kept: OrderedDict[ThumbnailKey, Drawing] = OrderedDict()
        self._size = 0
        self._making: set[ThumbnailKey] = set()

    def beside(self, pictures: Sequence[Picture], columns: int, rows: int) -> "Beside":
        """Return as many pictures as fit beside one another; none where thumbnails are off."""
        shown: list[Shown] = []
        for picture in pictures if self.on and rows else ():
            width, height = fitted(picture.width, picture.height, columns, rows)
            if sum(each.width + GAP for each in shown) + width > columns:
                break
            shown.append(Shown(width, height, self._drawing(picture, width, height)))
        return Beside(tuple(shown))

    def forget(self) -> None:
        """Make all of them again: the terminal has lost its pictures."""
        self._kept.clear()
        self._size = 0

    def _drawing(self, picture: Picture, width: int, height: int) -> Drawing | None:
        """Return a thumbnail; None: it is being made."""
        # The bytes know their hash after the first time; no picture is kept alive for it.
        key = hash(picture.data), len(picture.data), width, height
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        if key not in self._making:
            self._making.add(key)
            self._start(self._make(key, picture))
        return None

    async def _make(self, key: ThumbnailKey, picture: Picture) -> None:
        try:
            made = await self.drawn(picture, key[2], key[3])
        except SteprunError:
            # The picture is sent all the same: its line says what it is.
            made = HalfBlocks(b"", key[2], key[3])
        finally:
            self._making.discard(key)
        self._kept[key] = made
        self._size += made.size
        while self._size > KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size
            oldest.forget()
        self._arrived()

    async def drawn(self, picture: Picture, width: int, height: int) -> Drawing:
        """Return a picture at that size in pixels of half blocks. Raises `SteprunError`."""
        columns, rows = width, cell_rows(height)
        if self.write is None or max(columns, rows) > len(NUMBERS):
            pixels = await in_workshop(lambda shop: shop.pixels(picture, width, height))
            return HalfBlocks(pixels, width, height)
        wide = min(picture.width, columns * CELL_PX[0])
        high = max(1, round(wide * picture.height / picture.width))
        png = await in_workshop(lambda shop: shop.small_png(picture, wide, high))
        self._image = (self._image + 1) % MOST_IDS or 1
        self.write(await asyncio.to_thread(transmission, self._image, png, columns, rows))
        return InTerminal(self._image, columns, rows, len(png), self.write)


NONE: Final = Thumbnails(lambda _: None, lambda: None)
NONE.on = False


def thumbnails_of(app: App[Any]) -> Thumbnails:
    """Return the thumbnails of an app, `NONE` where it has none."""
    found = getattr(app, "thumbnails", NONE)
    return found if isinstance(found, Thumbnails) else NONE
