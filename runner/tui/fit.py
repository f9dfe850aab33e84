"""What fits the screen: the turns that are mounted, the rows of pictures, the end of a text. Pure.

Mounted widgets are the chat's budget: Textual's reflow visits each of them on every change.
"""

from collections.abc import Sequence

from runner.chat.export import picture_labels
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


def around(index: int, total: int) -> range:
    """Return the window of a turn that is gone to, with as many after it as before."""
    start = max(0, min(index - TAIL // 2, total - TAIL))
    return range(start, min(total, start + TAIL))


def chip_lines(
    pictures: Sequence[Picture], rows: int, *, prices: bool, rate: float = 0
) -> list[str]:
    """Return the lines that stand for pictures, at most `rows`. `rate`: see `picture_label`."""
    lines = picture_labels(pictures, prices=prices, rate=rate)
    if len(lines) > rows:
        lines[rows - 1 :] = [f"and {len(lines) - rows + 1} more"]
    return lines


def last_words(text: str, chars: int) -> str:
    """Return the end of a text on one line, from the start of a word."""
    text = " ".join(text[-2 * chars :].split())
    return text if len(text) <= chars else "… " + text[2 - chars :].partition(" ")[2]
