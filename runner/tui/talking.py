"""The course of a chat: the engine loads, questions are asked, answers end, the user leaves."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from textual import on
from textual.message import Message
from textual.timer import Timer

from runner.base.errors import Exit, SteprunError
from runner.base.files import write_trace
from runner.chat.answering import answer
from runner.chat.conversation import Conversation
from runner.chat.events import Failed, Loading
from runner.chat.host import ChatSetup
from runner.chat.host_task import HostEvent, HostReady, HostTask
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture
from runner.tui.status import ChatStatus, turn_state
from runner.tui.view import ChatView

FLUSH_S = 0.1  # drawing each token would cost the processor that the model computes on
AUTOSAVE_S = 2.0
HANGUP_S = 40.0  # what an engine has read is saved in 20, and the engine is stopped in 8

_log = logging.getLogger(__name__)


class ChatTalk(ChatView):
    """Talks to the engine and saves the conversation.

    After the run: `failure` is why there is no engine, `return_code` its exit code; `farewell`
    says how to resume.
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
        self.options = setup.options
        self.conversation = Conversation(setup.title, setup.resume)
        self.host_task = HostTask(
            setup.open_host, lambda event: self.post_message(self.HostChanged(event))
        )
        self.failure: SteprunError | None = None
        self._loaded_s = 0.0
        self._live: Turn | None = None
        self._queued: Turn | None = None
        self._queued_again = False
        self.waiting: list[tuple[str, tuple[Picture, ...]]] = []  # to be sent after the answer
        self.loading_pictures = 0
        self.thinking: Literal["auto", "open", "closed"] = "open" if setup.show_thinking else "auto"
        self._leaving = False
        self._ticker: Timer | None = None
        self._autosave: Timer | None = None

    # --- beginning and end -------------------------------------------------------------------

    async def on_mount(self) -> None:
        """Show the conversation so far, and begin to load the engine."""
        self._catch_signals()
        self._ticker = self.set_interval(
            FLUSH_S, lambda: self.post_message(self.Tick()), pause=True
        )
        self.composer.prompt.sent_before = self.conversation.history
        await self.transcript.show_turns(self.conversation.turns, opened=self._opened())
        if (draft := self.conversation.draft) is not None:
            self.composer.give_back(draft.text, draft.pictures)
        self.host_task.start()
        self._show_warnings()
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
            # The terminal is gone. Textual would wait for ever to write to it, so it does not end
            # the run: once all is saved and the engine is stopped, the process exits.
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
        """Leave the chat: unsent text is saved, the engine is stopped."""
        await self.quit_with(self.failure.exit_code if self.failure else Exit.DONE)

    async def quit_with(self, code: int) -> None:
        """Leave the chat with an exit code."""
        if self._leaving:
            return
        self._leaving = True
        self.show_status()
        self.keep_unsent()
        await self.stop_answer()
        await self.host_task.stop()
        self.exit(return_code=code)

    def keep_unsent(self) -> None:
        """Save what is typed and what waits to be sent, as a draft."""
        texts, pictures = [self.composer.text], [*self.composer.pictures]
        texts[:0] = [text for text, _ in self.waiting]
        pictures[:0] = [picture for _, its in self.waiting for picture in its]
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
        """Stop the engine and release the session, however the chat ended."""
        await self._close()

    async def _close(self) -> None:
        await self.host_task.stop()
        self.conversation.close()

    async def run_async(self, *args: Any, **kwargs: Any) -> None:
        """Run the chat; the engine is stopped even where the interface broke."""
        try:
            await super().run_async(*args, **kwargs)
        finally:
            await self._close()

    def _handle_exception(self, error: Exception) -> None:
        """Save the unsent text when steprun itself fails, and report it as any other error."""
        with contextlib.suppress(Exception):
            self.keep_unsent()
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
        """What to print after the chat: where the unsent text is, how to resume."""
        conversation, lines = self.conversation, []
        if conversation.draft_path is not None:
            lines.append(f"Your unsent text is saved in {conversation.draft_path}")
        if conversation.saved:
            lines.append(f"Resume with: {conversation.resume_command(self.setup.words)}")
        return tuple(lines)

    # --- the engine --------------------------------------------------------------------------

    @on(HostChanged)
    async def _host_changed(self, message: HostChanged) -> None:
        match message.event:
            case Loading(waited_s):
                self._loaded_s = waited_s
            case HostReady():
                if self.failure is not None:  # other troubles stay to be read
                    self.failure = None
                    self.transcript.notice(None)
                self._show_warnings()
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
        self.problem(error, after=f"/retry {self._retries}; your text is kept")

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
        if self.host_task.alive():
            self._begin(turn, again=again)
        else:
            turn.phase, turn.error = TurnState.QUEUED, None
            self._queued, self._queued_again = turn, again
            await self._sync(turn)
            if not self.host_task.loading:
                await self.host_task.restart()
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
        """Ask and receive the answer. Touches no widget: the ticker shows how far it is."""
        try:
            await answer(self.conversation, turn, self.host_task.host, self.options, again=again)
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
        if self._live is turn:
            self._live = None
            if self._ticker is not None:
                self._ticker.pause()
        await self._sync(turn)
        if turn.error is not None and not self.host_task.alive() and not self._leaving:
            self.failure = turn.error
            self.problem(after=f"/retry {self._retries} and asks again")
        self._show_warnings()
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
            return self.thinking != "closed"
        return self.thinking == "open"

    async def action_toggle_thinking(self) -> None:
        """Show or hide the thinking, in this turn and in later ones."""
        newest = self.conversation.turns[-1] if self.conversation.turns else None
        self.thinking = "closed" if self._opened(newest) else "open"
        await self.transcript.set_opened(opened=self._opened(), live=self._live)
        if self._live is not None:
            await self._sync(self._live)
        self.hint(f"Thinking is {'shown' if self.thinking == 'open' else 'hidden'}.")

    def _show_warnings(self) -> None:
        warnings = self.conversation.warnings
        if warnings:
            self.problem(*(SteprunError(text) for text in warnings))
            warnings.clear()

    def show_status(self) -> None:
        """Update the status line."""
        turns = self.conversation.turns
        newest = turns[-1] if turns else None
        self.status_line.show(
            ChatStatus(
                self.setup.title,
                self._state(),
                newest.rate() if newest is not None else 0.0,
                self.conversation.context_used(),
                self.setup.context,
                self.options.effort or "",
            )
        )

    def _state(self) -> str:
        if self._leaving:
            return "stopping the engine" if self.setup.own else "leaving"
        waits = self._live is None or self._live.phase is TurnState.PREFILL
        if self.host_task.loading and waits:
            return f"loading … {self._loaded_s:.0f} s"
        if self._live is not None:
            return turn_state(self._live)
        if self.loading_pictures:
            return "loading image"
        if self.host_task.alive():
            return "ready"
        return "no engine" if self.setup.own else "no server"

    @property
    def _retries(self) -> str:
        """What /retry does first where there is no host."""
        if self.host_task.loading:
            return "waits for the engine, which is started again,"
        return "starts the engine again" if self.setup.own else "looks for the server again"


def _exit_later(seconds: float) -> None:
    """End the process after a while, even if its event loop is stuck."""
    timer = threading.Timer(seconds, os._exit, (int(Exit.INTERRUPTED),))
    timer.daemon = True
    timer.start()
