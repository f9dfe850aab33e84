"""Rows that moved: the terminal is told to move them, and the others alone are written.

Each new row of an answer moves all above it. Written anew they are most of what the chat sends to
the terminal, and most of what sending it costs.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.console import Console
from textual._compositor import ChopsUpdate
from textual.strip import Strip

LEAST: Final = 4  # rows: fewer are as cheap to write

Shown = Sequence[Strip | None]
"""The rows of the terminal as they were written, None where that is not known."""


class Move(NamedTuple):
    """Rows `top` to `bottom` move up by `up` rows, or down where that is negative."""

    top: int
    bottom: int
    up: int

    def applied(self, shown: Shown) -> list[Strip | None]:
        """Return what the rows show after it."""
        kept = range(self.top, self.bottom + 1)
        return [
            strip if y not in kept else shown[y + self.up] if y + self.up in kept else None
            for y, strip in enumerate(shown)
        ]

    def sequence(self, above: int) -> str:
        """Return what makes a terminal do it; `above`: rows of the screen above row 0.

        Line feed and reverse index (ESC M) within margins (DECSTBM): every terminal has had them
        since the VT100, while the Linux console lacks SU and SD.
        """
        top, bottom = self.top + above + 1, self.bottom + above + 1
        if self.up > 0:
            moved = f"\x1b[{bottom};1H" + "\n" * self.up
        else:
            moved = f"\x1b[{top};1H" + "\x1bM" * -self.up
        return f"\x1b[0m\x1b[{top};{bottom}r{moved}\x1b[r"


def find_move(shown: Shown, wanted: Sequence[Strip]) -> Move | None:
    """Return the move that brings most rows to where they are wanted, None where few are. Pure."""
    count = Counter(map(id, shown))
    places = {id(strip): y for y, strip in enumerate(shown) if count[id(strip)] == 1}
    ups = [places.get(id(strip), y) - y for y, strip in enumerate(wanted)]
    [(up, _)] = Counter(filter(None, ups)).most_common(1) or [(0, 0)]
    top, bottom = _longest_run(ups, up) if up else (0, 0)
    if not up or bottom - top < LEAST:
        return None
    return Move(min(top, top + up), max(bottom, bottom + up) - 1, up)


def _longest_run(values: Sequence[int], wanted: int) -> tuple[int, int]:
    """Return where most neighbours have a value: the first, and the one after the last."""
    best = begin = (0, 0)
    for place, value in enumerate(values):
        begin = (begin[0], place + 1) if value == wanted else (place + 1, place + 1)
        best = max(best, begin, key=lambda run: run[1] - run[0])
    return best


class ScrolledUpdate(ChopsUpdate):
    """An update before which rows of the terminal move."""

    def __init__(self, sequence: str, update: ChopsUpdate) -> None:
        super().__init__(update.chops, update.spans, update.chop_ends)
        self._sequence = sequence

    def render_segments(self, console: Console) -> str:
        """Return what is written to the terminal."""
        return self._sequence + super().render_segments(console)
