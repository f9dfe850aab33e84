"""Thumbnails: made in a thread, once for each picture and size, and kept within a bound.

Until one is there its place is blank, so that nothing moves when it arrives.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from textual.app import App
from textual.content import Content
from textual.widget import Widget

from runner.base.errors import SteprunError
from runner.chat.wire import Picture
from runner.tui.half_blocks import GAP, cell_rows, fitted, half_block_rows, side_by_side
from runner.tui.workshop import THE_WORKSHOP

KEPT_BYTES: Final = 8 << 20  # a thumbnail of 40 by 10 cells has 2,400 bytes
# Rows and columns of a terminal below which there is no room for pictures.
LEAST_ROWS, LEAST_COLUMNS = 20, 60
COLOURS: Final = frozenset({"256", "truecolor"})  # with 16 a picture is not to be made out

# What is in a picture, and the size of the thumbnail in pixels.
ThumbnailKey = tuple[int, int, int, int]


def picture_rows(picture: Picture, columns: int, rows: int) -> list[Content]:
    """Return a picture as rows of text that fit `columns` and `rows` of cells.

    Blocks while it is decoded, for a tenth of a second or so: call it in a thread. Raises
    `SteprunError` where it cannot be.
    """
    width, height = fitted(picture.width, picture.height, columns, rows)
    return half_block_rows(THE_WORKSHOP.pixels(picture, width, height), width)


def composer_rows(screen: tuple[int, int]) -> int:
    """Return how many rows a thumbnail has above the field: 0 where there is no room."""
    columns, rows = screen
    return min(6, rows // 8) if rows >= LEAST_ROWS and columns >= LEAST_COLUMNS else 0


def turn_rows(screen: tuple[int, int]) -> int:
    """Return how many rows a thumbnail has in a question: 0 where there is no room."""
    columns, rows = screen
    return min(12, rows // 4) if rows >= LEAST_ROWS and columns >= LEAST_COLUMNS else 0


class Shown(NamedTuple):
    """A thumbnail of that size in pixels; no bytes where there is none, None where not yet."""

    width: int
    height: int
    pixels: bytes | None

    def lines(self) -> list[Content]:
        """Return its rows of text, blank ones where there is nothing to be seen."""
        if not self.pixels:
            return [Content(" " * self.width)] * cell_rows(self.height)
        return half_block_rows(self.pixels, self.width)


class Beside(NamedTuple):
    """Thumbnails that stand beside one another."""

    shown: tuple[Shown, ...]

    @property
    def state(self) -> tuple[tuple[int, int, bool], ...]:
        """What decides how they look."""
        return tuple((each.width, each.height, bool(each.pixels)) for each in self.shown)

    def lines(self) -> list[Content]:
        """Return their rows of text."""
        return side_by_side([each.lines() for each in self.shown], [w for w, *_ in self.shown])


class Thumbnails:
    """The thumbnails of one window.

    `start` runs a coroutine beside the interface; `arrived` is called when there is a new one.
    """

    def __init__(
        self, start: Callable[[Coroutine[Any, Any, None]], object], arrived: Callable[[], object]
    ) -> None:
        self.on = True
        self._start = start
        self._arrived = arrived
        self._kept: OrderedDict[ThumbnailKey, bytes] = OrderedDict()
        self._size = 0
        self._making: set[ThumbnailKey] = set()

    def beside(self, pictures: Sequence[Picture], columns: int, rows: int) -> "Beside":
        """Return as many pictures as fit beside one another; none where thumbnails are off."""
        shown: list[Shown] = []
        for picture in pictures if self.on and rows else ():
            width, height = fitted(picture.width, picture.height, columns, rows)
            if sum(each.width + GAP for each in shown) + width > columns:
                break
            shown.append(Shown(width, height, self._pixels(picture, width, height)))
        return Beside(tuple(shown))

    def _pixels(self, picture: Picture, width: int, height: int) -> bytes | None:
        """Return a thumbnail, empty where there cannot be one; None: it is being made."""
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
            made = await asyncio.to_thread(THE_WORKSHOP.pixels, picture, key[2], key[3])
        except SteprunError:
            made = b""  # the picture is sent all the same: its line says what it is
        finally:
            self._making.discard(key)
        self._kept[key] = made
        self._size += len(made)
        while self._size > KEPT_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1])
        self._arrived()


NONE: Final = Thumbnails(lambda _: None, lambda: None)
NONE.on = False


def thumbnails_of(app: App[Any]) -> Thumbnails:
    """Return the thumbnails of an app, `NONE` where it has none."""
    found = getattr(app, "thumbnails", NONE)
    return found if isinstance(found, Thumbnails) else NONE


def of_question(view: Widget, pictures: Sequence[Picture], columns: int) -> Beside:
    """Return the thumbnails of a question's pictures, as far as there is room."""
    return thumbnails_of(view.app).beside(pictures, columns, turn_rows(view.app.size))
