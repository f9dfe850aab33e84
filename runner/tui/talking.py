"""The chat's course: the engine comes up, questions are asked, answers end, the chat is left."""

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from textual import on
from textual.message import Message
from textual.timer import Timer

from runner.base.errors import Exit, SteprunError
from runner.base.files import write_trace
from runner.chat.answering import fill
from runner.chat.conversation import Conversation
from runner.chat.events import Failed, Loading
from runner.chat.host import ChatSetup
from runner.chat.host_task import Keeper, News, Ready
from runner.chat.turn import Turn, TurnState
from runner.tui.status import ChatStatus, turn_state
from runner.tui.view import ChatView

FLUSH_S = 0.1  # drawing each token would cost the processor that the model computes on
AUTOSAVE_S = 2.0
HANGUP_S = 15.0  # an engine is stopped in 8

T = TypeVar("T")

_log = logging.getLogger(__name__)


class ChatTalk(ChatView):
    """Talks to the engine and keeps what is said.

    After the run: `failure` is why there is no engine, `return_code` its exit code; `farewell`
    says how to go on.
    """

    @dataclass
    class HostNews(Message):
        """The engine is loading, ready, or failed."""

        news: News

    @dataclass
    class Ended(Message):
        """An answer has ended, one way or another, and is saved."""

        turn: Turn

    class Tick(Message):
        """Time to show how far the answer is. A timer runs in a task of its own: it only posts."""

        def can_replace(self, message: Message) -> bool:
            """Take the place of a tick that was not handled yet."""
            return isinstance(message, ChatTalk.Tick)

    def __init__(self, setup: ChatSetup) -> None:
        super().__init__(setup)
        self.options = setup.options
        self.conversation = Conversation(setup.title, setup.resume)
        self.keeper = Keeper(setup.open_host, self._tell)
        self.failure: SteprunError | None = None
        self._loaded_s = 0.0
        self._live: Turn | None = None
        self._queued: Turn | None = None
        self._queued_again = False
        self._reading = 0  # pictures on their way
        self._thinking: Literal["auto", "open", "closed"] = (
            "open" if setup.show_thinking else "auto"
        )
        self._leaving = False
        self._ticker: Timer | None = None
        self._autosave: Timer | None = None

    # --- beginning and end -------------------------------------------------------------------

    async def on_mount(self) -> None:
        """Show what there is, and begin to load."""
        self._catch_signals()
        self._ticker = self.set_interval(
            FLUSH_S, lambda: self.post_message(self.Tick()), pause=True
        )
        self.composer.prompt.sent_before = self.conversation.history
        self.greet()
        await self.transcript.show_turns(self.conversation.turns, opened=self._opened())
        if (draft := self.conversation.draft) is not None:
            self.composer.give_back(draft.text, draft.pictures)
        self.keeper.start()
        self._tell_troubles()
        self.show_status()

    def _catch_signals(self) -> None:
        """End in order when the terminal closes or the system asks."""
        if self.is_headless or threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGTERM", "SIGHUP"):
            # Windows has neither, nor signals in its event loop.
            with contextlib.suppress(AttributeError, NotImplementedError, ValueError):
                asyncio.get_running_loop().add_signal_handler(
                    getattr(signal, name), self._signalled, name
                )

    def _signalled(self, name: str) -> None:
        if name == "SIGHUP":
            # The terminal is gone. Textual would wait for ever to write to it, and so does not
            # get to end the run: once all is kept and the engine is stopped, nothing is left.
            self._begin_batch()
            _exit_later(HANGUP_S)
            self.run_worker(self._hang_up(), group="quit", exit_on_error=False)
        else:
            self.run_worker(self.quit_with(Exit.INTERRUPTED), group="quit", exit_on_error=False)

    async def _hang_up(self) -> None:
        self._leaving = True
        try:
            self.keep_unsent()
            await self.stop_answer()
            await self._close()
        finally:
            os._exit(Exit.INTERRUPTED)

    async def action_quit(self) -> None:
        """Leave the chat: what is typed is kept, the engine is stopped."""
        await self.quit_with(self.failure.exit_code if self.failure else Exit.DONE)

    async def quit_with(self, code: int) -> None:
        """Leave the chat with an exit code."""
        if self._leaving:
            return
        self._leaving = True
        self.show_status()
        self.keep_unsent()
        await self.stop_answer()
        await self.keeper.stop()
        self.exit(return_code=code)

    def keep_unsent(self) -> None:
        """Save what is typed and what waits to be sent, as a draft."""
        texts, pictures = [self.composer.text], [*self.composer.pictures]
        if self._queued is not None and not self._queued_again:
            texts.insert(0, self._queued.text)
            pictures[:0] = self._queued.pictures
        self.conversation.keep_draft("\n".join(text for text in texts if text), pictures)

    def unsent_changed(self) -> None:
        """Save the draft soon: even a killed chat loses no more than a moment's typing."""
        if self._autosave is not None:
            self._autosave.stop()
        self._autosave = self.set_timer(AUTOSAVE_S, self.keep_unsent)

    async def on_unmount(self) -> None:
        """Let go of everything, however the chat ended."""
        await self._close()

    async def _close(self) -> None:
        await self.keeper.stop()
        self.conversation.close()

    async def run_async(self, *args: Any, **kwargs: Any) -> None:
        """Run the chat; the engine is stopped even where the interface broke."""
        try:
            await super().run_async(*args, **kwargs)
        finally:
            await self._close()

    def _handle_exception(self, error: Exception) -> None:
        """Keep what was typed when steprun itself fails, and tell it as any other error."""
        with contextlib.suppress(Exception):
            self.keep_unsent()
        super()._handle_exception(error)
        # The trace shows the user's words to whoever looks on: it belongs in a file.
        self._exit_renderables.clear()
        log = write_trace(error)
        self.failure = SteprunError(
            "The chat failed.",
            why=f"{type(error).__name__}: {error}",
            next="This is a mistake in steprun: please report it"
            + (f", with the trace in {log}" if isinstance(log, Path) else ""),
        )

    @property
    def farewell(self) -> tuple[str, ...]:
        """What to print after the chat: how to go on, where the unsent text is."""
        conversation, lines = self.conversation, []
        if conversation.draft_path is not None:
            lines.append(f"What you had typed is kept in {conversation.draft_path}")
        if conversation.saved:
            words = shlex.join(("steprun", "chat", *self.setup.words))
            lines.append(f"Go on with: {words} --resume {conversation.session.id}")
        return tuple(lines)

    # --- the engine --------------------------------------------------------------------------

    def _tell(self, news: News) -> None:
        self.post_message(self.HostNews(news))

    @on(HostNews)
    async def _host_news(self, message: HostNews) -> None:
        match message.news:
            case Loading(waited_s):
                self._loaded_s = waited_s
            case Ready():
                if self.failure is not None:  # other troubles stay to be read
                    self.failure = None
                    self.transcript.notice(None)
                self._tell_troubles()
                if (turn := self._queued) is not None:
                    self._queued = None
                    self._begin(turn, again=self._queued_again)
            case Failed(error):
                await self._not_loaded(error)
        self.show_status()

    async def _not_loaded(self, error: SteprunError) -> None:
        if self._leaving:
            return
        self.failure = error
        turn, self._queued = self._queued, None
        if turn is not None and self._queued_again:
            turn.apply(Failed(error), time.monotonic())
            await self._sync(turn)
        elif turn is not None:
            await self._take_back(turn)
        self.problem(error, after="/retry starts the engine again; what you typed is kept")

    async def _take_back(self, turn: Turn) -> None:
        """Put a question that was not sent back into the composer."""
        self.conversation.withdraw(turn)
        await self.transcript.drop(turn)
        self.composer.give_back(turn.text, turn.pictures)

    # --- asking ------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a question is being answered or waits for the engine."""
        return self._live is not None or self._queued is not None

    async def ask(self, turn: Turn, *, again: bool = False) -> None:
        """Ask now, or as soon as there is an engine."""
        self.transcript.notice(None)
        if self.keeper.alive():
            self._begin(turn, again=again)
        else:
            turn.phase, turn.error = TurnState.QUEUED, None
            self._queued, self._queued_again = turn, again
            await self._sync(turn)
            if not self.keeper.loading:
                await self.keeper.restart()
        self.show_status()

    def _begin(self, turn: Turn, *, again: bool) -> None:
        turn.begin()
        self._live = turn
        if self._ticker is not None:
            self._ticker.resume()
        self.run_worker(
            self._answer(turn, again=again), group="generate", exclusive=True, exit_on_error=False
        )

    async def _answer(self, turn: Turn, *, again: bool) -> None:
        """Ask and take the answer in. Touches no widget: the ticker shows how far it is."""
        try:
            messages = await _to_the_end(
                asyncio.to_thread(self.conversation.sending, turn, again=again)
            )
            if (host := self.keeper.host) is not None:
                await fill(turn, host, messages, self.options)
        except Exception as error:  # noqa: BLE001 - whatever it is, the chat goes on
            _log.exception("The answer failed")
            bug = SteprunError("steprun failed while it read the answer.", why=repr(error))
            turn.apply(Failed(bug), time.monotonic())
        finally:
            turn.stop()  # unless it is over
            self.conversation.ended(turn)
            self.post_message(self.Ended(turn))

    async def stop_answer(self) -> bool:
        """Stop the running answer; the part that came stays. Returns whether there was one."""
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
        if self._live is turn:
            self._live = None
            if self._ticker is not None:
                self._ticker.pause()
        await self._sync(turn)
        if turn.error is not None and not self.keeper.alive() and not self._leaving:
            self.failure = turn.error
            self.problem(after="/retry starts the engine again and asks again")
        self._tell_troubles()
        self.show_status()

    # --- showing -----------------------------------------------------------------------------

    @on(Tick)
    async def _ticked(self) -> None:
        if self._live is not None:
            await self._sync(self._live)
        self.show_status()

    async def _sync(self, turn: Turn) -> None:
        # The chat may be on its way out: what it has kept is saved, and nothing is shown any more.
        if self._leaving or not self.is_running:
            return
        if (view := self.transcript.view_of(turn)) is not None:
            live = turn is self._live
            await view.sync(opened=self._opened(turn), hold=live and not self.transcript.following)

    def _opened(self, turn: Turn | None = None) -> bool:
        """Whether the thinking is open: while it thinks, unless closed; later, if opened."""
        if turn is not None and turn.phase is TurnState.THINKING:
            return self._thinking != "closed"
        return self._thinking == "open"

    async def action_toggle_thinking(self) -> None:
        """Show or hide the thinking, in this turn and in those to come."""
        newest = self.conversation.turns[-1] if self.conversation.turns else None
        self._thinking = "closed" if self._opened(newest) else "open"
        await self.transcript.set_opened(opened=self._opened(), live=self._live)
        if self._live is not None:
            await self._sync(self._live)
        self.hint(f"Thinking is {'shown' if self._thinking == 'open' else 'hidden'}.")

    def _tell_troubles(self) -> None:
        troubles = self.conversation.troubles
        if troubles:
            self.problem(*(SteprunError(text) for text in troubles))
            troubles.clear()

    def current_status(self) -> ChatStatus:
        """Return what the status line is to tell."""
        turns = self.conversation.turns
        newest = turns[-1] if turns else None
        used = next((used for turn in reversed(turns) if (used := turn.context_used())), 0)
        return ChatStatus(
            self.setup.title,
            self._state(),
            newest.rate() if newest is not None else 0.0,
            used,
            self.setup.context,
            self.options.effort or "",
        )

    def _state(self) -> str:
        if self._leaving:
            return "stopping the engine"
        if self._live is not None:
            return turn_state(self._live)
        if self.keeper.loading:
            return f"loading … {self._loaded_s:.0f} s"
        if self._reading:
            return "reading picture"
        return "ready" if self.keeper.alive() else "no engine"


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for work in a thread; a cancelled waiter still waits until it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _exit_later(seconds: float) -> None:
    """End the process after a while, even if its event loop is stuck."""
    timer = threading.Timer(seconds, os._exit, (int(Exit.INTERRUPTED),))
    timer.daemon = True
    timer.start()
