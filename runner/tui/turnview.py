"""One turn on the screen: the question, the reasoning, the answer and the note below it."""

import logging
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.selection import Selection
from textual.widget import Widget
from textual.widgets import Static

from runner.base.errors import SteprunError
from runner.base.shell import as_typed
from runner.chat.export import picture_labels
from runner.chat.turn import Turn, TurnState
from runner.tui.composer import ROOMY
from runner.tui.fit import last_words
from runner.tui.status import rate_text

if TYPE_CHECKING:  # Markdown and its colours take long to import: not before there is an answer
    from textual.widgets import Markdown
    from textual.widgets.markdown import MarkdownStream

# While it thinks, its last lines are enough to follow; the whole is laid out when it is opened.
LIVE_THOUGHT_ROWS = 5
QUESTION_CHARS = 8000  # of a pasted file, the beginning is enough to know it by
# A live answer is many widgets; of a long one only the end stays live.
SETTLE_CHARS = 4000

_log = logging.getLogger(__name__)


def error_content(error: SteprunError) -> Content:
    """Return an error as it is shown: what happened, why, what to type next."""
    parts: list[Content | tuple[str, str]] = [(error.what, "bold $text-error")]
    if error.why:
        parts.append(Content(f"\n{as_typed(error.why)}"))
    if error.next:
        parts.append((f"\n→ {as_typed(error.next)}", "$foreground-muted"))
    return Content.assemble(*parts)


class Prose(Widget):
    """Markdown that no longer changes: one widget, however long. Laid out again by width."""

    DEFAULT_CSS = "Prose { height: auto; width: 1fr; }"

    def __init__(self, source: str = "", *, classes: str = "") -> None:
        super().__init__(classes=classes)
        self.source = source
        self._for_width = 0
        self._lines: list[Content] = []

    def show(self, source: str) -> None:
        """Show another text."""
        self.source, self._for_width = source, 0
        self.refresh(layout=True)

    def _at(self, width: int) -> list[Content]:
        if width != self._for_width:
            self._lines = []
            if self.source:
                from runner.tui.render import markdown_lines  # noqa: PLC0415 - see above

                self._lines = markdown_lines(self.source, width)
            self._for_width = width
        return self._lines

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines the text takes at `width`."""
        del container, viewport
        return len(self._at(width))

    def render(self) -> Content:
        """Return the text at the width that it was given."""
        return Content("\n").join(self._at(self.content_size.width or self._for_width or 1))

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return what is selected, without the blanks that fill a code block's lines."""
        found = super().get_selection(selection)
        if found is None:
            return None
        text, ending = found
        return "\n".join(line.rstrip() for line in text.split("\n")), ending


class Thought(Static):
    """The reasoning: a line with its length, and the text where it is open."""

    class Toggled(Message):
        """The user clicked it."""

    def on_click(self, event: Click) -> None:
        """Open or close it, and all others with it."""
        event.stop()
        self.post_message(self.Toggled())

    def show(self, turn: Turn, *, opened: bool) -> None:
        """Show the thinking of `turn`."""
        live = turn.phase is TurnState.THINKING
        words = "thinking" if live else "thought"
        count = f"{turn.thought_tokens:,} tokens" if turn.thought_tokens else ""
        head = " · ".join(part for part in (words, count, rate_text(turn.thought_rate())) if part)
        self.set_class(opened, "-open")
        mark = "▾" if opened else "▸"
        parts: list[Content | tuple[str, str]] = [(f"{mark} {head}", "$foreground-muted")]
        text = turn.reasoning.strip()
        if opened and text:
            if live:
                rows = LIVE_THOUGHT_ROWS if self.app.size.height >= ROOMY else 2
                text = last_words(text, rows * (self.content_size.width or self.app.size.width))
            parts.append((f"\n{text}", "italic $foreground-muted"))
        self.update(Content.assemble(*parts))


class TurnView(Vertical):
    """Shows a `Turn`; `sync` updates it, about ten times a second at most."""

    DEFAULT_CLASSES = "turn"

    def __init__(self, turn: Turn, *, opened: bool, prices: bool, context: int) -> None:
        super().__init__()
        self.turn = turn
        self._opened = opened
        self._prices = prices
        self._room = context
        self._asked = Static(self._question(), classes="question")
        self._thought = Thought(classes="thought")
        self._note = Static(classes="note")
        self._prose = Prose(turn.answer if turn.phase.over else "", classes="answer")
        self._live: Markdown | None = None
        self._stream: MarkdownStream | None = None
        self._settled = len(self._prose.source)  # characters of the answer in `_prose`
        self._written = self._settled  # characters shown at all

    def compose(self) -> ComposeResult:
        """Mount the parts, and show those that the turn has."""
        yield self._asked
        yield self._thought
        yield self._prose
        yield self._note
        self._prose.display = bool(self.turn.answer)
        self._show_thought_and_note()

    def know(self, *, prices: bool, context: int) -> None:
        """Take over what was not known of the model when this was mounted."""
        self._prices, self._room = prices, context
        self._asked.update(self._question())

    def _question(self) -> Content:
        chips = [
            (f"{label}\n", "$text-accent")
            for label in picture_labels(self.turn.pictures, prices=self._prices)
        ]
        # Assembled, never parsed: what the user pasted may look like markup.
        text = self.turn.text
        content = Content.assemble(*chips, Content(text[:QUESTION_CHARS]))
        if (left_out := len(text) - QUESTION_CHARS) > 0:
            content += Content.styled(f"\n… and {left_out:,} more characters", "$foreground-muted")
        return content.rstrip("\n")

    async def sync(self, *, opened: bool, hold: bool = False) -> None:
        """Show how far the turn is. `hold`: the user has scrolled up, leave the text as it is."""
        self._opened = opened
        turn = self.turn
        if turn.phase.over or turn.phase is TurnState.QUEUED:
            await self._freeze()
        elif not hold:
            # Asked again: what was settled is the old answer. Its length alone does not show it.
            # Or it was thinking, as has turned out: the answer begins again.
            shrunk = len(turn.answer) < self._written
            if shrunk or not turn.answer.startswith(self._prose.source):
                await self._freeze()
            await self._grow()
        self._show_thought_and_note()

    def _show_thought_and_note(self) -> None:
        turn = self.turn
        self._thought.display = bool(turn.reasoning.strip())
        if self._thought.display:
            self._thought.show(turn, opened=self._opened)
        took = turn.reading() if self.app.size.height >= ROOMY else ""
        words = "\n".join(filter(None, (turn.note(self._room), took)))
        note = error_content(turn.error) if turn.error else Content(words)
        self._note.display = bool(note)
        if note:
            self._note.set_class(turn.phase is TurnState.FAILED, "-failed")
            self._note.update(note)

    async def _grow(self) -> None:
        text = self.turn.answer
        if len(text) == self._written:
            return
        from textual.widgets import Markdown  # noqa: PLC0415 - see above

        from runner.tui.render import settled  # noqa: PLC0415

        if self._live is None or self._stream is None:
            self._live = Markdown(classes="live", open_links=False)
            await self.mount(self._live, after=self._prose)
            self._stream = Markdown.get_stream(self._live)
            self._written = self._settled
        await self._stream.write(text[self._written :])
        self._written = len(text)
        if len(text) - self._settled > SETTLE_CHARS and (more := settled(text[self._settled :])):
            await self._freeze(self._settled + more)
            await self._grow()

    async def _freeze(self, upto: int | None = None) -> None:
        """Turn the live answer, up to a character or all of it, into one widget."""
        text = self.turn.answer[:upto]
        stream, live = self._stream, self._live
        self._stream = self._live = None
        if stream is None and self._prose.source == text:
            return
        with self.app.batch_update():
            if stream is not None:
                try:
                    await stream.stop()
                except Exception:  # noqa: BLE001 - a model's Markdown must not end the chat; prose shows it
                    _log.exception("The live Markdown failed")
            if live is not None:
                await live.remove()
            self._prose.show(text)
            self._prose.display = bool(text)
            self._settled = self._written = len(text)
