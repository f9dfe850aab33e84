"""Pictures as rows of text: each cell is two pixels, one above the other, in two colours. Pure.

Rows of text scroll, fold and resize like any others, in every terminal with 256 colours.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from textual.color import Color
from textual.content import Content, Span
from textual.style import Style

UPPER: Final = "\N{UPPER HALF BLOCK}"
GAP: Final = 1  # cells between two pictures


def fitted(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """Return the size in pixels at which a picture fits into cells, never larger than it is.

    A cell is taken to be twice as high as it is wide, as it is in nearly every font.
    """
    scale = min(1.0, columns / width, 2 * rows / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def cell_rows(pixel_height: int) -> int:
    """Return how many rows so many pixels take."""
    return -(-pixel_height // 2)


def half_block_rows(pixels: bytes, width: int) -> list[Content]:
    """Return rows of `width` cells for pixels of three bytes each, row by row.

    Of an odd number of pixel rows the last has the background below it.
    """
    line = 3 * width
    lines = [pixels[at : at + line] for at in range(0, len(pixels), line)]
    lower = [*lines[1::2], None] if len(lines) % 2 else lines[1::2]
    return [_row(above, below) for above, below in zip(lines[::2], lower, strict=True)]


def _row(above: bytes, below: bytes | None) -> Content:
    cells = [
        (above[at : at + 3], None if below is None else below[at : at + 3])
        for at in range(0, len(above), 3)
    ]
    spans, start = [], 0
    for (upper, lower), run in groupby(cells):
        end = start + len(list(run))
        background = None if lower is None else Color(*lower)
        spans.append(Span(start, end, Style(foreground=Color(*upper), background=background)))
        start = end
    return Content(UPPER * len(cells), spans)


def side_by_side(pictures: Sequence[Sequence[Content]], widths: Sequence[int]) -> list[Content]:
    """Return the rows of several pictures beside one another, with their tops in line.

    `widths` in cells.
    """
    height = max(map(len, pictures), default=0)
    blanks = [Content(" " * width) for width in widths]
    gap = Content(" " * GAP)
    return [
        gap.join(
            picture[y] if y < len(picture) else blank
            for picture, blank in zip(pictures, blanks, strict=True)
        )
        for y in range(height)
    ]
