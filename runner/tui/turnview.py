"""One turn on the screen: the question, the steps of the answer in their order, and the note."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from textual.content import Content
from textual.events import Click
from textual.message import Message

from runner.base.errors import SteprunError
from runner.base.shell import as_typed
from runner.base.text import clean
from runner.chat.export import picture_labels
from runner.chat.fences import fenced_code
from runner.chat.files.attached import labels
from runner.chat.sections import Section, sections_of
from runner.chat.steps import StepKind
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture
from runner.tui.block import EMPTY, Block, Part, wrapped
from runner.tui.fit import Space, last_words
from runner.tui.flow import STEP_S, Flow
from runner.tui.found import FoundWords
from runner.tui.rows import COPY, MEASURE, MUTED, Growing, GrowingWords, Row
from runner.tui.status import rate_text, thought_text
from runner.tui.thumbnails import NONE, Beside, PictureWanted, Thumbnails, turn_rows
from runner.tui.toolrows import RESULT_INDENT, tool_rows, tools_shown

# While it thinks, its last lines are enough to follow; the whole is laid out when it is opened.
LIVE_THOUGHT_ROWS = 5
ANSWERS = " · Alt+A answers now"  # the key of `wings.going_on`
QUESTION_CHARS = 8000  # of a pasted file, the beginning is enough to know it by
MARGINS = 3, 2  # cells left and right of what is said, where there is room


def error_content(error: SteprunError) -> Content:
    """Return an error as it is shown: what happened, why, what to type next."""
    # Some quote a server or the name of a file: a terminal must not obey what they contain.
    parts: list[Content | tuple[str, str]] = [(clean(error.what), "bold $text-error")]
    if error.why:
        parts.append(Content(f"\n{as_typed(clean(error.why))}"))
    if error.next:
        parts.append((f"\n→ {as_typed(clean(error.next))}", "$foreground-muted"))
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


class TurnView(Block):
    """Shows a `Turn`: `lay_out` lays out what is new of it, `show` what was chosen since."""

    def __init__(
        self,
        turn: Turn,
        version: VersionOf,
        *,
        opened: bool,
        prices: bool,
        context: int,
        number: int = 1,
        thumbnails: Thumbnails = NONE,
    ) -> None:
        super().__init__(number)
        self.turn = turn
        self._version = version
        self._opened = opened
        self._prices = prices
        self._room = context
        self._thumbnails = thumbnails
        self._follows = True
        self._sections: list[Section] = []
        self._flows: dict[tuple[StepKind, int], Flow] = {}  # of the sections' texts
        self._until: float | None = None  # when to stop laying them out
        # Rows by part, and what they show.
        self._kept: dict[tuple[str, int], tuple[object, list[Row]]] = {}
        self._found: FoundWords | None = None

    @property
    def behind(self) -> bool:
        """Whether more of its texts is to be laid out."""
        return any(flow.behind for flow in self._flows.values())

    @property
    def settled(self) -> bool:
        """Whether all of it is laid out."""
        return self.space is not None and not self.behind

    @property
    def shows_thinking(self) -> bool:
        """Whether its thinking is open."""
        return self._opened

    def show(self, *, opened: bool, follows: bool = True) -> None:
        """Open or close the thinking. `follows`: the end of what it thinks right now is shown."""
        if (opened, follows) != (self._opened, self._follows):
            self._opened, self._follows = opened, follows
            self.forget()

    def find(self, found: FoundWords | None) -> None:
        """Make what is looked for visible; None: nothing is."""
        self._found = found

    def _looks(self, part: Part, index: int) -> Content:
        found = self._found
        return part.rows[index].content if found is None else found.mark(part, index).content

    def know(self, *, prices: bool, context: int) -> None:
        """Take over what was not known of the model when this was made."""
        self._prices, self._room = prices, context
        self.forget()

    def _arranged(self, space: Space) -> list[Part]:
        turn = self.turn
        left, right = (1, 0) if space.compact else MARGINS
        room = max(1, space.width - left - right)
        mark = Content(" " * left)
        air = [] if space.compact else [Part("air", [EMPTY])]
        parts = [
            Part("pictures", self._pictures(space, left)),
            Part("question", self._question(space, left, right)),
            *air,
        ]
        self._sections, self._until = sections_of(turn.steps), None
        flows, self._flows = self._flows, {}
        texts = [each for each in self._sections if each.kind is StepKind.TEXT]
        for section in self._sections:
            shown = self._section(section, flows, space, room)
            parts += [part._replace(mark=mark, nth=section.nth) for part in shown]
            last = bool(texts) and section is texts[-1]
            parts += [Part("end", [self._end(room)], mark)] if last else air
        if note := self._note(space, left, room):
            parts.append(Part("note", note))
        if versions := self._versions():
            parts.append(Part("versions", versions, mark))
        return parts + (air if note or versions else [])

    def _section(
        self, section: Section, flows: dict[tuple[StepKind, int], Flow], space: Space, room: int
    ) -> list[Part]:
        """Return the parts of a section; `flows`: the texts as they are laid out so far."""
        if section.kind is StepKind.CALL:
            return [Part("tools", self._tools(section, space, room))]
        if section.kind is StepKind.TEXT:
            return [Part("answer", self._flow(section, flows, room))]
        parts = [Part("thought", self._thought_head(section, room))]
        italic = f"italic {MUTED}"
        if self._shows_end(section):
            rows = LIVE_THOUGHT_ROWS if space.roomy else 2
            text = last_words(section.text.strip(), rows * room)
            lines = [Row(line, 0) for line in wrapped(Content(text), room)]
            return [*parts, Part("words", lines, style=italic)]
        if self._opened:
            parts.append(Part("words", self._flow(section, flows, room), style=italic))
        return parts

    def _flow(self, section: Section, flows: dict[tuple[StepKind, int], Flow], room: int) -> Flow:
        """Return the rows of a text, with more of them laid out where there is time."""
        key = section.kind, section.nth
        thought = section.kind is StepKind.THINKING
        flow = self._flows[key] = flows.get(key) or Flow(GrowingWords if thought else _markdown)
        flow.show(section.text.strip() if thought else section.text)
        flow.fit(room)
        if flow.behind and (self._until is None or time.thread_time() < self._until):
            self._until = self._until or time.thread_time() + STEP_S
            flow.step(self._until)
        return flow

    def _thinks(self, section: Section) -> bool:
        """Whether it is what is being thought right now."""
        return self.turn.phase is TurnState.THINKING and section is self._sections[-1]

    def _shows_end(self, section: Section) -> bool:
        return self._follows and self._thinks(section)

    def _keep(
        self, name: str, shown: object, rows: Callable[[], list[Row]], nth: int = 0
    ) -> list[Row]:
        """Return the rows of a part, the same ones as long as it shows the same."""
        kept = self._kept.get((name, nth))
        if kept is None or kept[0] != shown:
            kept = self._kept[name, nth] = shown, rows()
        return kept[1]

    def _pictures(self, space: Space, left: int) -> list[Row]:
        """Return the thumbnails of the question's pictures, where there is room for some."""
        thumbnails = self._beside(space)

        def rows() -> list[Row]:
            lines = [Content(""), *thumbnails.lines()] if thumbnails.shown else []
            bar = Content.styled("▌", "$primary") + Content(" " * (left - 1))
            return [Row(_filled(bar + line, space.width), 0) for line in lines]

        return self._keep("pictures", (space.width, thumbnails.state), rows)

    def _beside(self, space: Space) -> Beside:
        room, high = space.width - sum(MARGINS), turn_rows((space.width, space.height))
        return self._thumbnails.beside(self.turn.pictures, room, high)

    def lines(self) -> list[str]:
        """Return the text of its rows, without their marks: a thumbnail is none."""
        rows = (
            (part.name == "pictures", part.rows[index])
            for part in self.parts
            for index in range(len(part.rows))
        )
        return ["" if drawn or row.picture else row.content.plain for drawn, row in rows]

    def _question(self, space: Space, left: int, right: int) -> list[Row]:
        turn, width, prices = self.turn, space.width, self._prices

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
            body = wrapped(content.rstrip("\n"), max(1, width - left - right))
            if right:
                body = [Content(""), *body, Content("")]
            bar = Content.styled("▌", "$primary") + Content(" " * (left - 1))
            lines = [(bar + line).stylize_before("$text") for line in body]
            return [Row(_filled(line, width), 0) for line in lines]

        shown = width, left, turn.text, turn.pictures, turn.files, prices
        return self._keep("question", shown, rows)

    def _thought_head(self, section: Section, room: int) -> list[Row]:
        turn, thinks = self.turn, self._thinks(section)
        shown = self._opened or self._shows_end(section)
        now = thought_text(section.seconds, section.tokens, turn.thinking_cap if thinks else 0)
        words = "thinking" if thinks else "thought"
        head = " · ".join(part for part in (words, now, rate_text(section.rate)) if part)
        text = f"{'▾' if shown else '▸'} {head}"
        if thinks and turn.can_answer and len(text) + len(ANSWERS) + len(COPY) < room:
            text += ANSWERS
        copy = shown and len(text) + len(COPY) < room
        line = f"{text:{room - len(COPY)}}{COPY}" if copy else text[:room]
        row = partial(Row, Content.styled(line, MUTED), 0, copy)
        return self._keep("thought", line, lambda: [row()], section.nth)

    def _tools(self, section: Section, space: Space, room: int) -> list[Row]:
        uses, phase, opened, prices = section.uses, self.turn.phase, self._opened, self._prices
        high = turn_rows((space.width, space.height))

        def beside(picture: Picture, room: int) -> Beside:
            return self._thumbnails.beside([picture], room, high)

        def show(picture: Picture, room: int) -> list[Row]:
            return [Row(line, 0, picture=picture) for line in beside(picture, room).lines()]

        returned = [picture for use in uses if use.result for picture in use.result.pictures]
        states = [beside(picture, room - RESULT_INDENT).state for picture in returned]
        shown = room, opened, prices, tools_shown(uses, phase), states
        rows = partial(tool_rows, uses, phase, room, opened=opened, prices=prices, show=show)
        return self._keep("tools", shown, rows, section.nth)

    def _end(self, room: int) -> Row:
        """Return the row below the answer, which copies it once it is there."""
        if not self.turn.phase.over or room <= len(COPY):
            return EMPTY
        line = Content.styled(COPY.rjust(min(room, MEASURE)), MUTED)
        return self._keep("end", room, lambda: [Row(line, 0, copies=True)])[0]

    def _note(self, space: Space, left: int, room: int) -> list[Row]:
        turn = self.turn
        took = turn.reading() if space.roomy else ""
        words = "\n".join(filter(None, (turn.note(self._room), took)))
        note = error_content(turn.error) if turn.error else Content(words)
        if turn.error and turn.grew:
            note += Content("\n→ What arrived is kept: /continue resumes it.")
        if not note:
            return []
        bar = Content(" " * left)
        if turn.phase is TurnState.FAILED:
            bar = Content.styled("▌", "$error") + Content(" " * (left - 1))

        def rows() -> list[Row]:
            lines = wrapped(note.stylize_before(MUTED), min(room, MEASURE))
            return [Row(bar + line, 0) for line in lines]

        return self._keep("note", (note.plain, room, left, turn.phase), rows)

    def _versions(self) -> list[Row]:
        number, count = self._version(self.turn)
        if count < 2:
            return []
        text = f"‹ {number}/{count} ›"  # noqa: RUF001 - arrows to click on
        return self._keep("versions", text, lambda: [Row(Content.styled(text, MUTED), 0)])

    # --- clicks ------------------------------------------------------------------------------

    def clicked(self, event: Click, x: int, y: int) -> Message | None:
        """Open or close the thinking, or hand over what is to be copied."""
        found = self.row(y)
        if found is None or self.space is None:
            return None
        part, index = found
        row = part.rows[index]
        if part.name == "pictures":
            event.stop()
            place = self._beside(self.space).at(x - MARGINS[0])
            return None if place is None else PictureWanted(self.turn.pictures[place])
        if row.picture is not None:
            event.stop()
            wide = len(part.mark.plain) + row.content.cell_length
            return PictureWanted(row.picture) if x < wide else None
        if part.name == "versions":
            event.stop()
            middle = len(part.mark.plain) + len(row.content.plain) // 2
            return VersionWanted(self.turn, -1 if x < middle else 1)
        if not row.copies or (part.name == "thought" and x < self.space.width - len(COPY) - 3):
            if part.name == "thought":
                event.stop()
                return ThoughtToggled()
            return None
        event.stop()
        if part.name == "end":
            return CopyWanted(self.turn.answer)
        text = self._text_of(part)
        if part.name != "thought":
            text = _code_block(text, sum(part.rows[before].copies for before in range(index)))
        return CopyWanted(text)

    def _text_of(self, part: Part) -> str:
        """Return the text of a section that a part shows or heads."""
        kind = StepKind.TEXT if part.name == "answer" else StepKind.THINKING
        found = (each for each in self._sections if (each.kind, each.nth) == (kind, part.nth))
        return next((each.text for each in found), "").strip("\n")


def _markdown(width: int) -> Growing:
    from runner.tui.growing import GrowingMarkdown  # noqa: PLC0415 - see `rows`

    return GrowingMarkdown(width)


def _code_block(answer: str, number: int) -> str:
    return fenced_code(answer)[number].text


def _filled(line: Content, width: int) -> Content:
    return line.pad_right(max(0, width - line.cell_length)).stylize_before("on $surface")
