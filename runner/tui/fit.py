"""What fits the screen: how much air there is, the rows of pictures, the end of a text. Pure."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from runner.chat.export import picture_label, price_text
from runner.chat.turn import Turn
from runner.chat.wire import Picture

COMPACT = (60, 16)  # narrower or lower: no borders, no air
ROOMY = 16  # rows of the screen, from which on there is room for what is not needed


class Space(NamedTuple):
    """The room that the rows of the conversation have: `width` in cells, `height` of the screen."""

    width: int
    height: int
    compact: bool

    @property
    def roomy(self) -> bool:
        """Whether there is room for what is not needed."""
        return self.height >= ROOMY


def compact(width: int, height: int) -> bool:
    """Whether a screen has no room for borders and air."""
    return width < COMPACT[0] or height < COMPACT[1]


def expected_rows(turn: Turn, width: int) -> int:
    """Return about how many rows a turn takes that was not laid out yet."""
    rows = 5  # around the texts: air, the lines that copy and tell
    for text in (turn.text, turn.answer):
        rows += text.count("\n") + len(text) // max(1, width)
    return rows + len(turn.pictures)


def thumb_at(top: int, rows: int, room: int) -> tuple[int, int]:
    """Return where the thumb of a scrollbar begins and ends, in eighths of a cell.

    As Textual draws it (`ScrollBarRender`): most new rows leave it as it is.
    """
    if rows <= room:
        return 0, 0
    size = max(1, room * room / rows)
    begin = int((room - size) * top / (rows - room) * 8)
    return begin, begin + ceil(size * 8)


def chip_lines(
    pictures: Sequence[Picture],
    rows: int,
    *,
    prices: bool,
    rate: float = 0,
    estimated: bool = False,
    width: int = 0,
) -> list[str]:
    """Return the lines that stand for pictures, at most `rows`; the last is the sum of several.

    `rate`, `estimated`: see `price_text`. `width`: see `picture_label`.
    """
    lines = [
        picture_label(number, picture, prices=prices, rate=rate, estimated=estimated, width=width)
        for number, picture in enumerate(pictures, 1)
    ]
    total = price_text(sum(p.tokens for p in pictures), rate, estimated=estimated)
    sums = [f"together {total}"] if prices and len(pictures) > 1 else []
    if len(lines) + len(sums) <= rows:
        return [*lines, *sums]
    shown = rows - 1
    return [*lines[:shown], " · ".join([f"and {len(lines) - shown} more", *sums])]


def last_words(text: str, chars: int) -> str:
    """Return the end of a text on one line, from the start of a word."""
    text = " ".join(text[-2 * chars :].split())
    return text if len(text) <= chars else "… " + text[2 - chars :].partition(" ")[2]
