"""Rows of the conversation that belong together, and how each of them is drawn."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from rich.segment import Segment
from textual.color import Color
from textual.content import Content
from textual.events import Click
from textual.filter import LineFilter
from textual.geometry import Offset
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from runner.tui.fit import Space, compact
from runner.tui.flow import Flow
from runner.tui.rows import Row

ROWS = 1 << 20  # a block has fewer: the rows of a chat are numbered block by block
STRIPS = 400  # drawn rows of a block that are kept, some screens full
EMPTY = Row(Content(""), 0)


class Part(NamedTuple):
    """Rows of a block that are of one kind. `mark` stands left of each row.

    `nth`: which part of its name it is, from 0.
    """

    name: str
    rows: Flow | Sequence[Row]
    mark: Content = Content("")
    style: str = ""
    nth: int = 0


class Drawn(NamedTuple):
    """A row as it was drawn: of what, and in which part (its mark and style)."""

    content: Content
    part: tuple[Content, str]
    strip: Strip


class Brush(NamedTuple):
    """What rows are drawn with. `width` and `edge` (left and right of a row) are in cells.

    `chosen` is the style of what is selected, `parse` finds a style by its name.
    """

    width: int
    edge: int
    style: Style
    theme: str
    parse: Callable[[str | Style], Style]
    filters: Sequence[LineFilter]
    background: Color
    chosen: Style
    selection: Selection | None


def dipped(widget: Widget, width: int) -> Brush:
    """Return what the rows of a widget are drawn with at this moment."""
    selection, chosen = widget.text_selection, Style.null()
    if selection is not None:
        chosen = Style.from_styles(widget.screen.get_component_styles("screen--selection"))
    return Brush(
        width,
        0 if compact(*widget.app.size) else 1,
        widget.visual_style,
        widget.app.theme,
        widget._get_style,  # noqa: SLF001 - as Textual's own widgets draw themselves
        widget.get_line_filters(),
        widget.background_colors[1],
        chosen,
        selection,
    )


class Block:
    """Parts, one below the other. `number`: its place in the conversation, of its rows' numbers.

    A subclass says in `_arranged` what the parts are. `parts` as far as they are laid out.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.height = 0
        self.space: Space | None = None
        self.parts: list[Part] = []
        self._ends: list[int] = []  # the number of rows up to the end of each
        self._drawn: dict[int, Drawn] = {}
        self._brush: Brush | None = None

    @property
    def behind(self) -> bool:
        """Whether more of it is to be laid out: `lay_out` never takes long."""
        return False

    def fit(self, space: Space) -> None:
        """Lay it out for a space, unless it is."""
        if space != self.space:
            self.space = space
            self.lay_out()

    def forget(self) -> None:
        """Lay it out anew when it is in view again: what it shows has changed."""
        self.space = None

    def lay_out(self) -> None:
        """Lay out what is new."""
        if self.space is not None:
            self.parts = self._arranged(self.space)
            self._ends = [*accumulate(len(part.rows) for part in self.parts)]
            self.height = self._ends[-1] if self._ends else 0

    def _arranged(self, space: Space) -> list[Part]:
        raise NotImplementedError

    def _looks(self, part: Part, index: int) -> Content:
        """Return a row as it is drawn: a subclass may mark something in it."""
        return part.rows[index].content

    def row(self, y: int) -> tuple[Part, int] | None:
        """Return the part of a row, and which of its rows it is."""
        index = bisect_right(self._ends, y)
        if index == len(self._ends):
            return None
        return self.parts[index], y - (self._ends[index - 1] if index else 0)

    def lines(self) -> list[str]:
        """Return the text of its rows, without their marks."""
        return [
            part.rows[index].content.plain for part in self.parts for index in range(len(part.rows))
        ]

    def clicked(self, event: Click, x: int, y: int) -> Message | None:
        """Return what a click on a row wants; `x` is counted from the left edge of the rows."""
        del event, x, y
        return None

    # --- drawing -----------------------------------------------------------------------------

    def strip(self, y: int, brush: Brush) -> Strip:
        """Draw a row; one that looks as before is the same `Strip` as before."""
        found = self.row(y)
        if found is None:
            return Strip.blank(brush.width, brush.style.rich_style)
        if brush is not self._brush or len(self._drawn) > STRIPS:
            self._drawn.clear()
            self._brush = brush
        part, index = found
        content = self._looks(part, index)
        drawn = self._drawn.get(y)
        if drawn is None or drawn.part != part[2:4] or not _same(drawn.content, content):
            drawn = Drawn(content, part[2:4], self._draw(part, content, y, brush))
        elif drawn.content is not content:
            drawn = drawn._replace(content=content)
        self._drawn[y] = drawn
        return drawn.strip

    def _draw(self, part: Part, content: Content, y: int, brush: Brush) -> Strip:
        number = self.number * ROWS + y
        if part.style:
            content = content.stylize_before(part.style)
        if brush.selection is not None and (span := brush.selection.get_span(number)) is not None:
            start, end = max(0, span[0]), len(content.plain) if span[1] < 0 else span[1]
            content = content.stylize(brush.chosen, start, end)
        # Where a row starts for the one who selects: after its mark.
        x = -len(part.mark.plain) - brush.edge
        whole = Content(" " * brush.edge) + part.mark + content
        if (free := brush.width - whole.cell_length) > 0:
            whole += Content(" " * free)
        segments: list[Segment] = []
        for text, own in _joined(whole.render(Style.null(), end="", parse_style=brush.parse)):
            style = (brush.style + own).rich_style_with_offset(x, number)
            segments.append(Segment(text, style))
            x += len(text)
        strip = Strip(segments).adjust_cell_length(brush.width, brush.style.rich_style)
        for each in brush.filters:
            strip = strip.apply_filter(each, brush.background)
        return strip


class Remark(Block):
    """A text of the program's own among the turns; it takes no room where it is empty."""

    def __init__(self, number: int, mark: Content, style: str = "", *, above: bool = False) -> None:
        """Make one without a text; `above`: it has air above it, too."""
        super().__init__(number)
        self._above = above
        self.content = Content("")
        self._mark = mark
        self._style = style

    def show(self, content: Content) -> None:
        """Show another text."""
        self.content = content
        self.forget()

    def _arranged(self, space: Space) -> list[Part]:
        if not self.content:
            return []
        mark = self._mark if space.compact else self._mark + Content(" ")
        lines = wrapped(self.content, max(1, space.width - len(mark.plain) - 1))
        rows = [Row(line, 0) for line in lines]
        air = [] if space.compact else [Part("air", [EMPTY])]
        above = air if self._above else []
        return [*above, Part("words", rows, mark, self._style), *air]


def selected_text(blocks: Iterable[Block], start: Offset, end: Offset) -> str:
    """Return what is selected of blocks, from a character of a row (by its number) to another."""
    lines: list[str] = []
    for block in blocks:
        for number, line in enumerate(block.lines(), block.number * ROWS):
            if start.y <= number <= end.y:
                left = max(0, start.x) if number == start.y else 0
                stop = max(0, end.x) if number == end.y else None
                lines.append(line[left:stop].rstrip())
    return "\n".join(lines)


def wrapped(content: Content, width: int) -> list[Content]:
    """Return the lines that a text makes at a width, blank ones too."""
    lines = content.split("\n", allow_blank=True)
    return [piece for line in lines for piece in line.wrap(max(1, width))]


def _joined(pieces: Iterable[tuple[str, Style]]) -> list[tuple[str, Style]]:
    """Join neighbours that look the same: each costs a terminal some forty bytes.

    Of a blank the colour is not seen, unless it has lines.
    """
    joined: list[tuple[str, Style]] = []
    for text, style in pieces:
        before, last = joined[-1] if joined else ("", style)
        blank = not text.strip(" ") and style.background == last.background
        if style == last or (blank and not _lined(style) and not _lined(last)):
            joined[-1:] = [(before + text, last)]
        else:
            joined.append((text, style))
    return joined


def _lined(style: Style) -> bool:
    return bool(style.underline or style.underline2 or style.strike or style.reverse)


def _same(one: Content, other: Content) -> bool:
    """Tell whether two texts look the same; Textual's own comparison leaves the styles out."""
    return one is other or (one.plain == other.plain and one.spans == other.spans)
