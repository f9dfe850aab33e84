"""The course of a chat: the engine loads, questions are asked, answers end, the user leaves."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from textual import on
from textual.content import Content
from textual.message import Message
from textual.timer import Timer

from runner.base.errors import Exit, SteprunError
from runner.base.files import write_trace
from runner.chat.answering import answer
from runner.chat.clock import AnswerClock
from runner.chat.conversation import Conversation
from runner.chat.events import Failed
from runner.chat.farewell import farewell
from runner.chat.host import ChatSetup, NeedsTerminal
from runner.chat.host_news import HostNews
from runner.chat.host_task import HostEvent, HostKnown, HostReady, HostTask
from runner.chat.reading import read_rate
from runner.chat.tools.toolboxes import Toolboxes
from runner.chat.turn import Turn, TurnState
from runner.tui.composer import TypedMessage
from runner.tui.end_signals import catch_signals, leave
from runner.tui.pace import TICK_S, DrawingPace
from runner.tui.standing import chat_status, retries
from runner.tui.unsent import Unsent
from runner.tui.view import ChatView

if TYPE_CHECKING:
    from runner.chat.figures import ServerFigures

PAINT_S, CLOCK_S = 0.1, 1.0  # seconds are shown while one waits, whether anything happens or not

_log = logging.getLogger(__name__)


class ChatTalk(ChatView):
    """Talks to the engine and saves the conversation.

    After the run: `failure` is why there is no engine, `return_code` its exit code; `farewell`
    says how to resume. `needs_terminal`: it has closed for a terminal to find the engine.
    """

    @dataclass
    class HostChanged(Message):
        """The engine is loading, ready, or failed."""

        event: HostEvent

    @dataclass
    class Ended(Message):
        """An answer has ended, one way or another, and is saved."""

        turn: Turn

    class Tick(Message):
        """Time to show how far the answer is. A timer has a task of its own: it only posts."""

        def can_replace(self, message: Message) -> bool:
            """Take the place of a tick that was not handled yet."""
            return isinstance(message, ChatTalk.Tick)

    def __init__(self, setup: ChatSetup) -> None:
        super().__init__(setup)
        self.options = replace(setup.options, controlled=True)
        self.conversation = Conversation(setup.title, setup.resume)
        self.host_task = HostTask(
            setup.open_host, lambda event: self.post_message(self.HostChanged(event)), setup.find
        )
        self.tools = Toolboxes()
        self.tools_ready: Callable[[], Awaitable[None]] | None = None  # what a question waits for,
        self.waits_for = ""  # and what that is right now
        self.failure: SteprunError | None = None
        self.needs_terminal = False
        self.clock = AnswerClock()
        self.figures: ServerFigures | None = None  # what our own server said of itself at last
        self._live: Turn | None = None
        self._queued: Turn | None = None
        self._queued_again = False
        self.waiting: list[TypedMessage] = []  # to be sent after the answer
        self.loading_pictures = 0
        self.thinking: Literal["auto", "open", "closed"] = "open" if setup.show_thinking else "auto"
        self.leaving = False
        self._ticker: Timer | None = None
        self._pace = DrawingPace()
        self.unsent = Unsent(self)

    # --- beginning and end -------------------------------------------------------------------

    async def on_mount(self) -> None:
        """Show the conversation so far, and begin to load the engine."""
        if not self.is_headless:  # end in order when the terminal closes or the system asks
            catch_signals(self._terminated, self._hung_up)
        self._ticker = self.set_interval(TICK_S, lambda: self.post_message(self.Tick()), pause=True)
        self.set_interval(CLOCK_S, self.show_status)
        self.composer.prompt.sent_before = self.conversation.history
        await self.transcript.show_turns(self.conversation.turns, opened=self._opened())
        if (draft := self.conversation.draft) is not None:
            self.composer.give_back(draft.text, draft.pictures)
        self.unsent.save_soon()  # what the end of the program before this one left behind
        self.show_warnings()
        self.show_status()
        # The thread that writes the first frame must not wait for one that imports.
        self.call_after_refresh(self.set_timer, PAINT_S, self.host_task.start)
        self.set_timer(CLOCK_S, self.preload)

    def _terminated(self) -> None:
        self.run_worker(self.quit_with(Exit.INTERRUPTED), group="quit", exit_on_error=False)

    def _hung_up(self) -> None:
        self._begin_batch()  # nothing is drawn any more
        self.run_worker(leave(self._save_all()), group="quit", exit_on_error=False)

    async def _save_all(self) -> None:
        self.leaving = True
        self.unsent.keep()
        await self.unsent.write()
        await self.stop_answer()
        await self.on_unmount()

    async def action_quit(self) -> None:
        """Leave the chat: unsent text is saved, the engine is stopped."""
        await self.quit_with(self.failure.exit_code if self.failure else Exit.DONE)

    async def quit_with(self, code: int) -> None:
        """Leave the chat with an exit code."""
        if self.leaving:
            return
        self.leaving = True
        self.show_status()
        self.unsent.keep()
        await self.unsent.write()
        await self.stop_answer()
        await self.host_task.stop()
        self.exit(return_code=code)

    async def on_unmount(self) -> None:
        """Stop the engine and release the session, however the chat ended; safe to call twice."""
        await self.host_task.stop()
        self.conversation.close()

    async def run_async(self, *args: Any, **kwargs: Any) -> None:
        """Run the chat; the engine is stopped even where the interface broke."""
        try:
            await super().run_async(*args, **kwargs)
        finally:
            await self.on_unmount()

    def _handle_exception(self, error: Exception) -> None:
        """Save the unsent text when steprun itself fails, and report it as any other error."""
        with contextlib.suppress(Exception):
            self.unsent.keep()
            self.conversation.flush()
        super()._handle_exception(error)
        # The trace shows the user's words to whoever looks on: it belongs in a file.
        self._exit_renderables.clear()
        log = write_trace(error)
        self.failure = SteprunError(
            "The chat failed.",
            why=f"{type(error).__name__}: {error}.",
            next="This is a bug in steprun: please report it"
            + (f", with the trace in {log}." if isinstance(log, Path) else "."),
        )

    @property
    def farewell(self) -> tuple[str, ...]:
        """What to print after the chat."""
        return farewell(self.conversation, self.setup.all_words)

    # --- the engine --------------------------------------------------------------------------

    @on(HostChanged)
    async def _host_changed(self, message: HostChanged) -> None:
        match message.event:
            case HostKnown(setup):
                self._known(setup)
            case HostReady():
                if self.failure is not None:  # other troubles stay to be read
                    self.failure = None
                    self.transcript.notice(None)
                self.show_warnings()
                if (turn := self._queued) is not None:
                    self._queued = None
                    self._begin(turn)
            case HostNews() as news:
                dropped = bool(self.composer.pictures) and not news.sees
                self.know(news.known(self.setup))
                words = f"{news.words} The images were taken off." if dropped else news.words
                self.transcript.notice(Content.styled(words, "$foreground-muted"))
                self.transcript.follow()
            case Failed(error):
                await self._not_loaded(error)
        self.show_status()

    def _known(self, setup: ChatSetup) -> None:
        """Go on with what the host turned out to be; what the user has set since stays."""
        self.know(setup)
        model, dialect = setup.options.model, setup.options.dialect
        self.options = replace(self.options, model=model, dialect=dialect)
        self.conversation.call_model(setup.title)

    async def _not_loaded(self, error: SteprunError) -> None:
        if self.leaving:
            return
        if isinstance(error, NeedsTerminal):
            self.needs_terminal = True
            await self.quit_with(Exit.DONE)
            return
        self.failure = error
        turn, self._queued = self._queued, None
        if turn is not None and self._queued_again:
            self.conversation.withdraw(turn)
            await self.show_branch()
        elif turn is not None:
            await self._take_back(turn)
        self.problem(error, after=f"/retry {self.retries}; your text is kept")

    async def take_back_queued(self) -> bool:
        """Put the question that waits for the engine back into the composer. False: none does."""
        turn = self._queued
        if turn is None or self._queued_again:
            return False
        self._queued = None
        await self._take_back(turn)
        return True

    async def _take_back(self, turn: Turn) -> None:
        """Put a question that was not sent back into the composer."""
        self.conversation.withdraw(turn)
        await self.show_branch()
        self.composer.give_back(turn.text, turn.pictures, turn.files)

    # --- asking ------------------------------------------------------------------------------

    @property
    def live(self) -> Turn | None:
        """The turn that is being answered."""
        return self._live

    @property
    def retries(self) -> str:
        """What /retry does first where there is no host."""
        return retries(self)

    @property
    def busy(self) -> bool:
        """Whether a question is being answered or waits for the engine."""
        return self._live is not None or self._queued is not None

    async def ask(
        self, turn: Turn, *, again: bool = False, make: Callable[[Turn], Turn] | None = None
    ) -> None:
        """Ask now, or as soon as there is an engine; `again`: for another answer beside the first.

        The first answer stands until the other one has ended, and is kept after that. `make`
        returns the turn of that one, where it is not just asked the same again.
        """
        self.transcript.notice(None)
        if again:
            turn = (make or self.conversation.regenerate)(turn)
            await self.show_branch()
        if self.host_task.alive():
            self._begin(turn)
        else:
            self._queued, self._queued_again = turn, again
            await self._sync(turn)
            if not self.host_task.loading:
                await self.host_task.restart()
        self.show_status()

    async def show_branch(self) -> None:
        """Show the current branch."""
        if not self.leaving and self.is_running:
            await self.transcript.show_turns(self.conversation.turns, opened=self._opened())

    def _begin(self, turn: Turn) -> None:
        turn.begin()
        turn.thinking_cap = self.options.thinking_cap or 0
        turn.can_answer = self.options.dialect.continues
        self.clock.ask(time.monotonic())
        self._live = turn
        if self._ticker is not None:
            self._ticker.resume()
        self.run_worker(self._answer(turn), group="generate", exclusive=True, exit_on_error=False)

    async def _answer(self, turn: Turn) -> None:
        """Ask and receive the answer. Touches no widget: the ticker shows how far it is."""
        try:
            await answer(
                *(self.conversation, turn, self.host_task.host, self.options),
                clock=self.clock,
                tools=self.tools,
                ready=self.tools_ready,
            )
        except Exception:  # noqa: BLE001 - whatever it is, the turn shows it and the chat continues
            _log.exception("The answer failed")
        finally:
            self.post_message(self.Ended(turn))

    async def stop_answer(self) -> bool:
        """Stop the running answer; what arrived stays. Returns whether there was one."""
        workers = [worker for worker in self.workers if worker.group == "generate"]
        running = [worker for worker in workers if not worker.is_finished]
        for worker in running:
            worker.cancel()
        for worker in running:
            with contextlib.suppress(Exception):
                await worker.wait()
        return bool(running)

    @on(Ended)
    async def _ended(self, message: Ended) -> None:
        turn = message.turn
        self.unsent.changed()  # what could not be saved with the answer is, once there is room
        if self._live is turn:
            self._live = None
            if self._ticker is not None:
                self._ticker.pause()
        stands = turn in self.conversation.turns
        await (self._sync(turn) if stands else self.show_branch())
        self.composer.know(rate=read_rate(turn.usage))
        if turn.error is not None and not self.leaving:
            after = "The earlier answer stands; /retry asks again."
            dead = not self.host_task.alive()
            if dead:
                self.failure = turn.error
                after = f"/retry {self.retries} and asks again"
            if dead or not stands:
                self.problem(*([] if stands else [turn.error]), after=after)
        self.show_warnings()
        self.show_status()

    # --- showing -----------------------------------------------------------------------------

    @on(Tick)
    async def _ticked(self) -> None:
        if not self._pace.due(time.monotonic(), time.thread_time()):
            return
        if self._live is not None:
            await self._sync(self._live)
        self.show_warnings()
        self.show_status()

    async def _sync(self, turn: Turn) -> None:
        # The chat may be on its way out: what it has kept is saved, and nothing is shown any more.
        if self.leaving or not self.is_running:
            return
        self.transcript.sync(turn, opened=self._opened(), follows=self.thinking != "closed")

    def _opened(self) -> bool:
        """Whether the thinking is open; the end of what is being thought is, unless closed."""
        return self.thinking == "open"

    async def action_toggle_thinking(self) -> None:
        """Show or hide the thinking, in this turn and in later ones."""
        follows = self._live is not None and self._live.phase is TurnState.THINKING
        shown = self.thinking != "closed" if follows else self._opened()
        self.thinking = "closed" if shown else "open"
        await self.transcript.set_opened(opened=self._opened(), live=self._live)
        if self._live is not None:
            await self._sync(self._live)
        self.hint(f"Thinking is {'shown' if self.thinking == 'open' else 'hidden'}.")

    def show_warnings(self) -> None:
        """Show what could not be saved or read, once."""
        warnings = list(self.conversation.warnings)
        if warnings:
            self.problem(*(SteprunError(text) for text in warnings))
            del self.conversation.warnings[: len(warnings)]  # a thread may have added one

    def show_status(self) -> None:
        """Update the status line."""
        self.status_line.show(chat_status(self))
