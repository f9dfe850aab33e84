"""The chat's frame: transcript, composer, status line, and how they fit the terminal."""

import gc
import time
from collections.abc import Iterable
from functools import partial
from importlib import import_module

from textual.app import ComposeResult
from textual.content import Content
from textual.events import Resize
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from runner.base.errors import Refused, SteprunError
from runner.chat.host import ChatSetup
from runner.chat.turn import Turn
from runner.tui.composer import Composer
from runner.tui.fit import compact
from runner.tui.frugal import ChatScreen, FrugalApp
from runner.tui.status import ChatStatus, status_parts
from runner.tui.transcript import Transcript
from runner.tui.turnview import error_content

TINY = (20, 5)  # narrower or lower: nothing fits
HINT_S = 3.0
HINT_ROWS = 3  # the most: at 40 columns the longest hints take as many
FIGURES_S = 0.5  # nobody reads figures that change faster


class StatusLine(Static):
    """One line: the model, its state, its speed, how full the context is."""

    def __init__(self) -> None:
        super().__init__(id="status")
        self._status = ChatStatus("", "")
        self._hint = ""
        self._hint_timer: Timer | None = None
        self._shown_at = 0.0

    def show(self, status: ChatStatus) -> None:
        """Show another status, behind the hint if there is one; mere figures when it is time."""
        before, now = self._status, time.monotonic()
        waits = status.state == before.state and now - self._shown_at < FIGURES_S
        if status != before and not waits:
            self._status, self._shown_at = status, now
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
        hint = Content.styled(self._hint, "$text")
        self.styles.height = min(HINT_ROWS, max(1, len(hint.wrap(max(1, width)))))
        if self._hint:
            self.update(hint, layout=False)
            return
        title, state, figures = status_parts(self._status, width)
        left = Content.assemble(
            (f"{title} · ", "$foreground-muted") if title else "", (state, "$text")
        )
        gap = " " * max(0, width - left.cell_length - Content(figures).cell_length)
        # Its height is fixed: a new layout of the whole chat at each tick would be for nothing.
        line = Content.assemble(left, gap, (figures, "$foreground-muted"))
        self.update(line, layout=False)


class ChatView(FrugalApp):
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

    def get_default_screen(self) -> ChatScreen:
        """Return the screen that the frame is on."""
        return ChatScreen(self.transcript)

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

    async def on_mount(self) -> None:
        """Choose the layout that fits: the first size may have come before there was a screen."""
        self._fit(*self.size)

    def on_resize(self, event: Resize) -> None:
        """Choose the layout that fits."""
        self._fit(*event.size)

    def _fit(self, width: int, height: int) -> None:
        small = compact(width, height)
        for screen in self.screen_stack:
            screen.set_class(small, "-compact")
            screen.set_class(width < TINY[0] or height < TINY[1], "-tiny")
        self.composer.prompt.placeholder = Content(
            "Message, or /help" if small else "Message the model. /help lists the commands"
        )

    def preload(self) -> None:
        """Import what the first answer needs, in a thread: the first frame did without."""
        self.run_worker(_preload, thread=True, group="preload", exit_on_error=False)

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
        """Scroll by a page."""
        transcript = self.transcript
        (transcript.scroll_page_up if direction < 0 else transcript.scroll_page_down)(animate=False)


def _preload() -> None:
    import_module("runner.tui.growing")
    if not gc.isenabled():  # see `runner.cli.commands.chat`
        gc.freeze()  # what is there now stays: to look through it took 50 to 80 ms each time
        gc.enable()


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
