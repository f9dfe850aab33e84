"""What fits the screen: the turns that are mounted, the rows of pictures, the end of a text. Pure.

Mounted widgets are the chat's budget: Textual's reflow visits each of them on every change.
"""

from collections.abc import Sequence

from runner.chat.export import picture_label, price_text
from runner.chat.wire import Picture

TAIL = 20  # turns mounted at the end of a conversation
BATCH = 10  # turns mounted at a time when the user scrolls
MOST = 60


def tail(total: int) -> range:
    """Return which of `total` turns are mounted at the end of the conversation."""
    return range(max(0, total - TAIL), total)


def earlier(window: range) -> range:
    """Return the window with a batch of earlier turns, bounded at its end."""
    start = max(0, window.start - BATCH)
    return range(start, min(window.stop, start + MOST))


def later(window: range, total: int) -> range:
    """Return the window with a batch of later turns, bounded at its start."""
    stop = min(total, window.stop + BATCH)
    return range(max(window.start, stop - MOST), stop)


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
