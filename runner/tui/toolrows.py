"""Calls of tools and what they returned, as rows of a turn."""

from collections.abc import Callable, Sequence
from typing import Final

from textual.content import Content

from runner.base.text import clean, clean_name
from runner.chat.export import TIMES
from runner.chat.steps import ToolUse
from runner.chat.tools.shown import arguments_text, use_words
from runner.chat.turn import TurnState
from runner.chat.wire import Picture
from runner.tui.block import wrapped
from runner.tui.rows import MUTED, Row

OPENED_ROWS: Final = 20  # of arguments, and of a result, where they are opened
OPENED_CHARS: Final = 4000
MORE: Final = "Ctrl+T shows more"
RESULT_INDENT: Final = 4  # cells
_HEAD_ROWS: Final = 2
_RESULT_ROWS: Final = 2  # of one that is not opened: as many as saying that there is more takes
# What is said of a call that has no result: one that was stopped may have run.
_WITHOUT: Final = {
    TurnState.CALLING: "running …",
    TurnState.ASKING: "waits for your permission",
    TurnState.STOPPED: "stopped",
    TurnState.CUT: "no result",
}

# Returns the rows of a picture that fit so many cells: its thumbnail.
ShowPicture = Callable[[Picture, int], Sequence[Row]]


def no_picture(picture: Picture, room: int) -> Sequence[Row]:
    """Return no rows for a picture: its name and its price are enough."""
    del picture, room
    return ()


def tools_shown(uses: Sequence[ToolUse], phase: TurnState) -> object:
    """Return what changes with the rows of tools, cheaply: they are made anew then."""
    lengths = [
        (len(use.call.name), len(use.call.text), -1 if use.result is None else len(use.result.text))
        for use in uses
    ]
    return lengths, phase


def tool_rows(
    uses: Sequence[ToolUse],
    phase: TurnState,
    room: int,
    *,
    opened: bool,
    prices: bool,
    show: ShowPicture = no_picture,
) -> list[Row]:
    """Return the rows of calls with their results; `phase` of their turn, `room` in cells.

    `opened`: with the arguments and the results in full, as far as rows are bounded. `prices`:
    pictures with their tokens in a Step prompt. `show`: what makes rows of a picture.
    """
    rows: list[Row] = []
    for use in uses:
        head = Content.styled("→ ", "$text-accent") + Content(use_words(use))
        rows += _fit(head, room, _HEAD_ROWS)
        if opened:
            rows += _indented(arguments_text(use), room)
        rows += _result(use, phase, room, opened=opened)
        for picture in use.result.pictures if use.result is not None else ():
            rows += _fit(Content.styled(f"  ↳ {_chip(picture, prices)}", "$text-accent"), room, 1)
            rows += [
                row._replace(content=Content(" " * RESULT_INDENT) + row.content)
                for row in show(picture, room - RESULT_INDENT)
            ]
    return rows


def _result(use: ToolUse, phase: TurnState, room: int, *, opened: bool) -> list[Row]:
    result = use.result
    if result is None:
        words = _WITHOUT.get(phase, "not run" if phase.over else "")
        return _fit(Content.styled(f"  ↳ {words}", MUTED), room, 1) if words else []
    if opened:
        return _indented(result.text, room)
    failed = result.text.startswith("Error: ")
    if result.pictures and not failed:
        return []  # they say more than the words that the model is told about them
    style = "$text-error" if failed else MUTED
    words = " ".join(clean(result.text[:OPENED_CHARS]).split()) or "nothing"
    lines = wrapped(Content.styled(words, style), max(1, room - 4))
    whole = len(result.text) <= OPENED_CHARS
    if not (whole and len(lines) <= _RESULT_ROWS):
        more = len(words if whole else result.text) - len(lines[0])
        lines = [lines[0], Content.styled(f"… {more:,} more characters · {MORE}", MUTED)]
    marks = (Content.styled("  ↳ ", style), Content("    "))
    return [
        row for mark, line in zip(marks, lines, strict=False) for row in _fit(mark + line, room, 1)
    ]


def _chip(picture: Picture, prices: bool) -> str:  # noqa: FBT001 - as a label has it
    price = f" · {picture.tokens:,} tokens" if prices else ""
    return f"{clean_name(picture.name)} {picture.width}{TIMES}{picture.height}{price}"


def _indented(text: str, room: int) -> list[Row]:
    """Return a text as it is, its first rows."""
    content = Content.styled(text[:OPENED_CHARS].rstrip("\n"), MUTED)
    rows = [Row(Content("    ") + line, 0) for line in wrapped(content, room - 4)]
    if len(rows) > OPENED_ROWS or len(text) > OPENED_CHARS:
        shown = sum(len(row.content.plain) - 4 for row in rows[:OPENED_ROWS])
        left = f"    … {max(1, len(text) - shown):,} more characters are not shown"
        rows = [*rows[:OPENED_ROWS], *_fit(Content.styled(left, MUTED), room, 1)]
    return rows


def _fit(content: Content, room: int, most: int) -> list[Row]:
    """Return text in so many rows at most; what does not fit ends in dots."""
    lines = wrapped(content, room)
    if len(lines) > most:
        last = lines[most - 1].rstrip()
        lines = [*lines[: most - 1], last.truncate(max(1, room - 1)).rstrip() + Content("…")]
    return [Row(line, 0) for line in lines]
