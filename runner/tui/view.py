"""The chat's frame: transcript, composer, status line, and how they fit the terminal."""

import gc
from collections.abc import Iterable
from functools import partial
from importlib import import_module

from textual.app import App, ComposeResult
from textual.content import Content
from textual.events import Resize
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from runner.base.errors import Refused, SteprunError
from runner.chat.host import ChatSetup
from runner.chat.turn import Turn
from runner.tui.composer import Composer
from runner.tui.status import ChatStatus, status_parts
from runner.tui.transcript import Transcript
from runner.tui.turnview import error_content

COMPACT = (60, 16)  # narrower or lower: no borders, no air
TINY = (20, 5)  # narrower or lower: nothing fits
HINT_S = 3.0


class StatusLine(Static):
    """One line: the model, its state, its speed, how full the context is."""

    def __init__(self) -> None:
        super().__init__(id="status")
        self._status = ChatStatus("", "")
        self._hint = ""
        self._hint_timer: Timer | None = None

    def show(self, status: ChatStatus) -> None:
        """Show another status, behind the hint if there is one."""
        if status != self._status:
            self._status = status
            self._draw()

    def hint(self, text: str) -> None:
        """Show a short message in place of the status, for `HINT_S`."""
        self._hint = text
        if self._hint_timer is not None:
            self._hint_timer.stop()
        if text:
            self._hint_timer = self.set_timer(HINT_S, partial(self.hint, ""))
        self._draw()

    def on_resize(self) -> None:
        """Fit it to the new width."""
        self._draw()

    def _draw(self) -> None:
        width = self.content_size.width
        status = ChatStatus("", self._hint) if self._hint else self._status
        title, state, figures = status_parts(status, width)
        left = Content.assemble(
            (f"{title} · ", "$foreground-muted") if title else "", (state, "$text")
        )
        gap = " " * max(0, width - left.cell_length - Content(figures).cell_length)
        # Its height is fixed: a new layout of the whole chat at each tick would be for nothing.
        line = Content.assemble(left, gap, (figures, "$foreground-muted"))
        self.update(line, layout=False)


class ChatView(App[None]):
    """Lays the chat out and shows what it is given; decides nothing."""

    CSS_PATH = "chat.tcss"
    TITLE = "steprun"
    AUTO_FOCUS = "#prompt"
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, setup: ChatSetup) -> None:
        super().__init__()
        self.setup = setup
        self.animation_level = "none"
        self.transcript = Transcript(
            _greeting(setup), self.version, prices=setup.prices, context=setup.context
        )
        self.composer = Composer(prices=setup.prices, expected_rate=setup.expected_rate)
        self.status_line = StatusLine()

    def compose(self) -> ComposeResult:
        """Mount the frame."""
        yield self.transcript
        yield from self.panels()
        yield self.composer
        yield self.status_line
        yield Static(
            f"Too small:\n{TINY[0]} × {TINY[1]} needed",  # noqa: RUF001
            id="cover",
            markup=False,
        )

    def panels(self) -> Iterable[Widget]:
        """Return what stands between the transcript and the composer."""
        return ()

    def version(self, turn: Turn) -> tuple[int, int]:
        """Return which version of a turn it is, from 1, and how many there are."""
        del turn
        return 1, 1

    def on_resize(self, event: Resize) -> None:
        """Choose the layout that fits."""
        width, height = event.size
        compact = width < COMPACT[0] or height < COMPACT[1]
        for screen in self.screen_stack:
            screen.set_class(compact, "-compact")
            screen.set_class(width < TINY[0] or height < TINY[1], "-tiny")
        self.composer.prompt.placeholder = Content(
            "Message, or /help" if compact else "Message the model. /help lists the commands"
        )

    def preload(self) -> None:
        """Import what the first answer needs, in a thread: the first frame did without."""
        gc.enable()  # see `runner.cli.commands.chat`
        rendering = partial(import_module, "runner.tui.growing")
        self.run_worker(rendering, thread=True, group="preload", exit_on_error=False)

    def know(self, setup: ChatSetup) -> None:
        """Show what the host has turned out to be."""
        self.setup = setup
        self.transcript.know(_greeting(setup), prices=setup.prices, context=setup.context)
        self.composer.know(prices=setup.prices, expected_rate=setup.expected_rate)
        if not setup.sees and self.composer.pictures:
            self.problem(self.blind())
            self.composer.detach_all()

    def blind(self) -> SteprunError:
        """Return why no image can be sent."""
        return Refused(
            "This chat cannot take images.",
            why=self.setup.blind_why or "The model has no vision encoder.",
            next="Continue with text.",
        )

    def hint(self, text: str) -> None:
        """Show a short message in the status line, for a moment."""
        self.status_line.hint(text)

    def problem(self, *errors: SteprunError, after: str = "") -> None:
        """Show errors under the last turn, all in one message, until the next question."""
        parts = [error_content(error) for error in errors]
        if after:
            parts.append(Content.styled(f"→ {after}", "$foreground-muted"))
        self.transcript.notice(Content("\n").join(parts))
        self.transcript.follow()

    async def action_page(self, direction: int) -> None:
        """Scroll by a page; at either end, load what is not mounted."""
        transcript = self.transcript
        if direction < 0:
            if transcript.scroll_offset.y > 0 or not await transcript.load_earlier():
                transcript.release_anchor()
                transcript.scroll_page_up(animate=False)
        elif not transcript.is_vertical_scroll_end or not await transcript.load_later():
            transcript.scroll_page_down(animate=False)


def _greeting(setup: ChatSetup) -> Content:
    """Return which model this is, and what is worth knowing about it."""
    greeting = Content.styled(setup.title, "bold $primary")
    if setup.greeting:
        greeting += Content(f"\n{setup.greeting}")
    if not setup.sees and setup.blind_why:
        greeting += Content(f"\nText only: {setup.blind_why}")
    if setup.hint and not setup.resume:
        greeting += Content(f"\n{setup.hint}")
    return greeting
