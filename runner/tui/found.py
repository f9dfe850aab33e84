"""What a search has found, on the rows of a turn: where it stands, and how it is drawn."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

from runner.chat.finding import Hit, HitPlace, Needle, folded, unfolded

if TYPE_CHECKING:
    from runner.tui.block import Part
    from runner.tui.flow import Flow
    from runner.tui.rows import Row

ALL: Final = "underline on $warning 30%"
HERE: Final = "bold reverse"  # without colors, too

# Which parts of a turn on the screen show what.
_PARTS: Final = {
    HitPlace.QUESTION: "question",
    HitPlace.THINKING: "words",
    HitPlace.ANSWER: "answer",
    HitPlace.TOOL: "tools",
}

RowKey = tuple[str, int, int]  # a part's name, which of that name it is, and which of its rows


@dataclass(frozen=True, slots=True)
class FoundWords:
    """What is looked for, and on which rows the hit stands that was gone to."""

    wanted: Needle
    here: dict[RowKey, tuple[int, int]] = field(default_factory=dict)

    def mark(self, part: "Part", index: int) -> "Row":
        """Return a row of a part with its hits made visible, also those that are broken in two."""
        row, first = part.rows[index], max(0, index - 1)
        if part.name not in _PARTS.values():
            return row
        content = row.content
        near = [part.rows[at] for at in range(first, min(len(part.rows), index + 2))]
        for spans in _spans(near, self.wanted):
            if (span := spans.get(index - first)) is not None:
                content = content.stylize(ALL, *span)
        if (here := self.here.get((part.name, part.nth, index))) is not None:
            content = content.stylize(HERE, *here)
        return row._replace(content=content)


def locate(
    parts: "Sequence[Part]", hit: Hit, wanted: Needle
) -> tuple[int, dict[RowKey, tuple[int, int]]]:
    """Return the row of a turn that a hit is on, and which characters of which rows it is.

    What the rows show may differ from the text that was searched (tables, formulas): where the hit
    is not among them, it is the row that is as far into the part, and nothing is marked.
    """
    above = 0
    for part in parts:
        if part.name == _PARTS[hit.place] and part.nth == hit.nth:
            break
        above += len(part.rows)
    else:
        return 0, {}
    spans = _spans(part.rows, wanted)
    if hit.number >= len(spans):
        return above + int(len(part.rows) * min(hit.part, 0.999)), {}
    rows = spans[hit.number]
    return above + min(rows), {(part.name, part.nth, row): span for row, span in rows.items()}


def _spans(rows: "Flow | Sequence[Row]", wanted: Needle) -> list[dict[int, tuple[int, int]]]:
    """Return, of each hit, which characters of which rows it is: a phrase may be broken in two."""
    before, place = "", 0
    pieces: list[str] = []
    begins: list[int] = []
    for index in range(len(rows)):
        plain = rows[index].content.plain
        glue = "" if _closes(before, plain) else "\n"
        pieces.append(f"{glue}{folded(plain.rstrip(), marks=wanted.marks)}")
        begins.append(place + len(glue))
        place += len(pieces[-1])
        before = plain
    return [
        dict(_rows_of(rows, begins, found.span(), marks=wanted.marks))
        for found in wanted.pattern.finditer("".join(pieces))
    ]


def _rows_of(
    rows: "Flow | Sequence[Row]", begins: Sequence[int], span: tuple[int, int], *, marks: bool
) -> Iterable[tuple[int, tuple[int, int]]]:
    first = max(0, bisect_right(begins, span[0]) - 1)
    for index in range(first, len(begins)):
        if begins[index] >= span[1]:
            break
        plain = rows[index].content.plain.rstrip()
        own = max(0, span[0] - begins[index]), span[1] - begins[index]
        begin, end = unfolded(plain, *own, marks=marks)
        if begin < end:
            yield index, (begin, end)


def _closes(above: str, below: str) -> bool:
    """Whether a word goes on in the next row: such as Chinese is broken without a space."""
    above, below = above.rstrip(), below.lstrip()
    return bool(above and below) and cell_len(above[-1]) == cell_len(below[0]) == 2
