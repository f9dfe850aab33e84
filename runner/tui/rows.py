"""Rows of styled text, what lays a text out as them, and the plain kind of it.

Apart from Markdown, which takes a tenth of a second to load: the window opens without it.
"""

from typing import NamedTuple, Protocol

from textual.content import Content

from runner.chat.wire import Picture
from runner.tui.lines import TAB, bounded, cut_line

SLICE = 2048  # characters of a text that are laid out at a time
# Longer lines are hard to read: the eye loses the start of the next. Tables and code may be wider.
MEASURE = 100
MUTED = "$foreground-muted"
COPY = "copy"


class Row(NamedTuple):
    """A line on the screen. `line`: of the source, where what it shows begins.

    `copies`: a click on it copies what it heads. `picture`: it is a part of its thumbnail.
    """

    content: Content
    line: int
    copies: bool = False
    picture: Picture | None = None


Rows = list[Row]


class Growing(Protocol):
    """Rows of a text that grows: `finished` ones stay as they are, `live` ones may change."""

    finished: Rows

    def grow(self, text: str) -> None:
        """Take more of the text."""
        ...

    def live(self) -> Rows:
        """Return the rows of the part that may still change."""
        ...


class GrowingWords:
    """Rows of text that is shown as it is, no Markdown."""

    def __init__(self, width: int) -> None:
        self.width = max(width, 1)
        self.finished: Rows = []
        self._rest = ""

    def grow(self, text: str) -> None:
        """Take more of the text."""
        *lines, rest = f"{self._rest}{text}".split("\n")
        whole = [part for line in lines for part in bounded(line)]
        parts, self._rest = cut_line(rest)
        for line in (*whole, *parts):
            self.finished += self._wrapped(line)

    def live(self) -> Rows:
        """Return the rows of the last line."""
        return self._wrapped(self._rest.expandtabs(TAB)) if self._rest else []

    def _wrapped(self, line: str) -> Rows:
        return [Row(piece, 0) for piece in Content(line).wrap(min(self.width, MEASURE))]
