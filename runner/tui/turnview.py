"""One turn on the screen, one widget: the question, the reasoning, the answer and the note."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.segment import Segment
from textual.content import Content
from textual.events import Click
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.timer import Timer
from textual.widget import Widget

from runner.base.errors import SteprunError
from runner.base.shell import as_typed
from runner.chat.export import picture_labels
from runner.chat.fences import fenced_code
from runner.chat.files.attached import labels
from runner.chat.turn import Turn, TurnState
from runner.tui.composer import ROOMY
from runner.tui.fit import last_words
from runner.tui.flow import Flow
from runner.tui.rows import COPY, MEASURE, MUTED, Growing, GrowingWords, Row
from runner.tui.status import rate_text

# While it thinks, its last lines are enough to follow; the whole is laid out when it is opened.
LIVE_THOUGHT_ROWS = 5
QUESTION_CHARS = 8000  # of a pasted file, the beginning is enough to know it by
CATCH_UP_S = 0.05  # between two steps of a text that came all at once
STRIPS = 2000  # drawn rows that are kept


def error_content(error: SteprunError) -> Content:
    """Return an error as it is shown: what happened, why, what to type next."""
    parts: list[Content | tuple[str, str]] = [(error.what, "bold $text-error")]
    if error.why:
        parts.append(Content(f"\n{as_typed(error.why)}"))
    if error.next:
        parts.append((f"\n→ {as_typed(error.next)}", "$foreground-muted"))
    return Content.assemble(*parts)


@dataclass
class CopyWanted(Message):
    """The user wants a text on the clipboard."""

    text: str


@dataclass
class VersionWanted(Message):
    """The user wants the version of a turn that is `step` after this one."""

    turn: Turn
    step: int


class ThoughtToggled(Message):
    """The user clicked the line of the reasoning."""


VersionOf = Callable[[Turn], tuple[int, int]]
"""Which version of a turn it is, from 1, and how many there are."""


class Part(NamedTuple):
    """Rows of a turn that are of one kind. `mark` stands left of each row."""

    name: str
    rows: Flow | Sequence[Row]
    mark: Content = Content("")
    style: str = ""


class TurnView(Widget):
    """Shows a `Turn`; `sync` updates it, about ten times a second at most."""

    DEFAULT_CLASSES = "turn"
    DEFAULT_CSS = "TurnView { height: auto; width: 1fr; }"

    def __init__(
        self, turn: Turn, version: VersionOf, *, opened: bool, prices: bool, context: int
    ) -> None:
        super().__init__()
        self.turn = turn
        self._version = version
        self._opened = opened
        self._prices = prices
        self._room = context
        self._answer = Flow(_markdown)
        self._thought = Flow(GrowingWords)
        self._parts: list[Part] = []
        self._width = self._height = 0
        self._kept: dict[str, tuple[object, list[Row]]] = {}  # rows by part, and what they show
        self._drawn: dict[int, tuple[Row, Strip]] = {}
        self._drawn_as: object = None
        self._timer: Timer | None = None

    def know(self, *, prices: bool, context: int) -> None:
        """Take over what was not known of the model when this was mounted."""
        self._prices, self._room = prices, context
        if self._width:
            self._lay_out()
            self.refresh(layout=True)

    async def sync(self, *, opened: bool, hold: bool = False) -> None:
        """Show how far the turn is. `hold`: the user has scrolled up, leave the text as it is."""
        self._opened = opened
        caught_up = self._timer is None  # else the next step shows it in a moment
        if self._width and caught_up and (not hold or self.turn.phase.over):
            self._step()

    def _step(self) -> None:
        """Lay more of the turn out, and draw what is new."""
        self._timer = None
        height, above = self._height, self._above()
        same = [(part.name, len(part.rows)) for part in self._parts if part.name != "answer"]
        stays = self._lay_out()
        parts = [(part.name, len(part.rows)) for part in self._parts if part.name != "answer"]
        top = above + stays if same == parts and self.turn.answer else 0
        region = Region(0, top, self._width, max(1, max(height, self._height) - top))
        self.refresh(region, layout=self._height != height)

    # --- laying out --------------------------------------------------------------------------

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many rows the turn takes at `width`, as far as it is laid out."""
        del container, viewport
        if width != self._width:
            self._width = width
            self._lay_out()
        return self._height

    def _lay_out(self) -> int:
        """Lay out what is new; return how many rows of the answer stay as they were."""
        turn, compact = self.turn, self.screen.has_class("-compact")
        left, right = (1, 0) if compact else (3, 2)
        room = max(1, self._width - left - right)
        mark = Content(" " * left)
        air = [] if compact else [Part("air", [_EMPTY])]
        parts = [Part("question", self._question(left, right)), *air]
        if turn.reasoning.strip():
            parts.append(Part("thought", self._thought_head(room), mark))
            if self._opened:
                parts.append(Part("words", self._words(room), mark, f"italic {MUTED}"))
            parts += air
        stays = self._answer.show(turn.answer)
        self._answer.fit(room)
        self._answer.step()
        if turn.answer:
            parts.append(Part("answer", self._answer, mark))
            parts.append(Part("end", [self._end(room)], mark))
        if note := self._note(left, room):
            parts.append(Part("note", note))
        if versions := self._versions():
            parts.append(Part("versions", versions, mark))
        parts += air if note or versions else []
        self._parts = parts
        self._height = sum(len(part.rows) for part in parts)
        if (self._answer.behind or self._thought.behind) and self._timer is None:
            self._timer = self.set_timer(CATCH_UP_S, self._step)
        return stays

    def _above(self) -> int:
        """Return how many rows stand above the answer."""
        names = [part.name for part in self._parts]
        before = self._parts[: names.index("answer")] if "answer" in names else ()
        return sum(len(part.rows) for part in before)

    def _keep(self, name: str, shown: object, rows: Callable[[], list[Row]]) -> list[Row]:
        """Return the rows of a part, the same ones as long as it shows the same."""
        kept = self._kept.get(name)
        if kept is None or kept[0] != shown:
            kept = self._kept[name] = shown, rows()
        return kept[1]

    def _question(self, left: int, right: int) -> list[Row]:
        turn, width, prices = self.turn, self._width, self._prices

        def rows() -> list[Row]:
            chips = [
                (f"{label}\n", "$text-accent")
                for label in (
                    *picture_labels(turn.pictures, prices=prices),
                    *labels(turn.files),
                )
            ]
            # Assembled, never parsed: what the user pasted may look like markup.
            content = Content.assemble(*chips, Content(turn.text[:QUESTION_CHARS]))
            if (left_out := len(turn.text) - QUESTION_CHARS) > 0:
                content += Content.styled(f"\n… and {left_out:,} more characters", MUTED)
            body = _wrapped(content.rstrip("\n"), max(1, width - left - right))
            if right:
                body = [Content(""), *body, Content("")]
            bar = Content.styled("▌", "$primary") + Content(" " * (left - 1))
            lines = [(bar + line).stylize_before("$text") for line in body]
            return [Row(_filled(line, width), 0) for line in lines]

        shown = width, left, turn.text, turn.pictures, turn.files, prices
        return self._keep("question", shown, rows)

    def _thought_head(self, room: int) -> list[Row]:
        turn = self.turn
        words = "thinking" if turn.phase is TurnState.THINKING else "thought"
        tokens = turn.thought_tokens
        count = f"{tokens:,} token{'s' if tokens > 1 else ''}" if tokens else ""
        head = " · ".join(part for part in (words, count, rate_text(turn.thought_rate())) if part)
        text = f"{'▾' if self._opened else '▸'} {head}"
        copy = self._opened and len(text) + len(COPY) < room
        line = f"{text:{room - len(COPY)}}{COPY}" if copy else text[:room]
        return self._keep("thought", line, lambda: [Row(Content.styled(line, MUTED), 0, copy)])

    def _words(self, room: int) -> Flow | list[Row]:
        text = self.turn.reasoning.strip()
        if self.turn.phase is TurnState.THINKING:
            rows = LIVE_THOUGHT_ROWS if self.app.size.height >= ROOMY else 2
            return [Row(line, 0) for line in _wrapped(Content(last_words(text, rows * room)), room)]
        self._thought.show(text)
        self._thought.fit(room)
        self._thought.step()
        return self._thought

    def _end(self, room: int) -> Row:
        """Return the row below the answer, which copies it once it is there."""
        if not self.turn.phase.over or room <= len(COPY):
            return _EMPTY
        line = Content.styled(COPY.rjust(min(room, MEASURE)), MUTED)
        return self._keep("end", room, lambda: [Row(line, 0, copies=True)])[0]

    def _note(self, left: int, room: int) -> list[Row]:
        turn = self.turn
        took = turn.reading() if self.app.size.height >= ROOMY else ""
        words = "\n".join(filter(None, (turn.note(self._room), took)))
        note = error_content(turn.error) if turn.error else Content(words)
        if not note:
            return []
        bar = Content(" " * left)
        if turn.phase is TurnState.FAILED:
            bar = Content.styled("▌", "$error") + Content(" " * (left - 1))

        def rows() -> list[Row]:
            lines = _wrapped(note.stylize_before(MUTED), min(room, MEASURE))
            return [Row(bar + line, 0) for line in lines]

        return self._keep("note", (note.plain, room, left, turn.phase), rows)

    def _versions(self) -> list[Row]:
        number, count = self._version(self.turn)
        if count < 2:
            return []
        text = f"‹ {number}/{count} ›"  # noqa: RUF001 - arrows to click on
        return self._keep("versions", text, lambda: [Row(Content.styled(text, MUTED), 0)])

    # --- drawing -----------------------------------------------------------------------------

    def _row(self, y: int) -> tuple[Part, int] | None:
        """Return the part of a row, and which of its rows it is."""
        for part in self._parts:
            if y < len(part.rows):
                return part, y
            y -= len(part.rows)
        return None

    def render_line(self, y: int) -> Strip:
        """Draw a row; one that is drawn already stays as it is."""
        style, selection = self.visual_style, self.text_selection
        found = self._row(y)
        if found is None:
            return Strip.blank(self.size.width, style.rich_style)
        part, index = found
        row = part.rows[index]
        drawn_as = (style, selection, self.app.theme, self.size.width)
        if drawn_as != self._drawn_as or len(self._drawn) > STRIPS:
            self._drawn.clear()
            self._drawn_as = drawn_as
        drawn = self._drawn.get(y)
        if drawn is None or drawn[0] is not row:
            drawn = self._drawn[y] = row, self._draw(part, row, y, style, selection)
        return drawn[1]

    def _draw(
        self, part: Part, row: Row, y: int, style: Style, selection: Selection | None
    ) -> Strip:
        content = row.content.stylize_before(part.style) if part.style else row.content
        if selection is not None and (span := selection.get_span(y)) is not None:
            start, end = max(0, span[0]), len(content.plain) if span[1] < 0 else span[1]
            chosen = self.screen.get_component_styles("screen--selection")
            content = content.stylize(Style.from_styles(chosen), start, end)
        # Where a row starts for the one who selects: after its mark.
        x = -len(part.mark.plain)
        segments: list[Segment] = []
        for text, own in (part.mark + content).render(style, end="", parse_style=self._get_style):
            segments.append(Segment(text, (style + own).rich_style_with_offset(x, y)))
            x += len(text)
        strip = Strip(segments)
        return strip.adjust_cell_length(self.size.width, style.rich_style)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return what is selected, without the blanks that fill a row."""
        lines = [row.content.plain for part in self._parts for row in _all(part.rows)]
        ends = [
            None if end is None else Offset(max(0, end.x), end.y)
            for end in (selection.start, selection.end)
        ]
        text = Selection(*ends).extract("\n".join(lines))
        return "\n".join(line.rstrip() for line in text.split("\n")), "\n"

    # --- clicks ------------------------------------------------------------------------------

    def on_click(self, event: Click) -> None:
        """Open or close the thinking, or hand over what is to be copied."""
        found = self._row(event.y)
        if found is None:
            return
        part, index = found
        row = part.rows[index]
        if part.name == "versions":
            event.stop()
            middle = len(part.mark.plain) + len(row.content.plain) // 2
            self.post_message(VersionWanted(self.turn, -1 if event.x < middle else 1))
            return
        if not row.copies or (part.name == "thought" and event.x < self._width - len(COPY) - 3):
            if part.name == "thought":
                event.stop()
                self.post_message(ThoughtToggled())
            return
        event.stop()
        text = {"thought": self.turn.reasoning.strip(), "end": self.turn.answer}.get(part.name)
        if text is None:
            number = sum(part.rows[before].copies for before in range(index))
            text = _code_block(self.turn.answer, number)
        self.post_message(CopyWanted(text))


def _markdown(width: int) -> Growing:
    from runner.tui.growing import GrowingMarkdown  # noqa: PLC0415 - see `rows`

    return GrowingMarkdown(width)


def _code_block(answer: str, number: int) -> str:
    return f"{fenced_code(answer)[number].text}\n"


_EMPTY = Row(Content(""), 0)


def _all(rows: Flow | Sequence[Row]) -> Iterator[Row]:
    return (rows[index] for index in range(len(rows)))


def _wrapped(content: Content, width: int) -> list[Content]:
    lines = content.split("\n", allow_blank=True)
    return [piece for line in lines for piece in line.wrap(max(1, width))]


def _filled(line: Content, width: int) -> Content:
    return line.pad_right(max(0, width - line.cell_length)).stylize_before("on $surface")
