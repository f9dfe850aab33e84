"""Going on: the thinking ended at once, and an answer that broke off continued.

A server that writes on behind the beginning of an answer (llama-server) is sent what is there. Any
server goes on from what tools have returned. Else it is asked again with less thinking, where
thinking is all that came, or told to continue. In
each case what was there before stays, as a version of its own where the new one does not hold it.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from runner.base.errors import UsageError
from runner.chat.going_on import (
    GO_ON,
    LESS_EFFORT,
    can_write_on,
    open_ended,
    up_to_results,
)
from runner.chat.host_task import HostKnown
from runner.chat.thinking_end import ThinkingEnd, end_of_thinking
from runner.chat.turn import Turn, TurnState
from runner.tui.composer import TypedMessage
from runner.tui.shared import ANSWER, CONTINUE
from runner.tui.talking import ChatTalk
from runner.tui.wings.versions import Versions
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp


class GoingOn(Wing):
    """Ends the thinking, and continues answers."""

    title = "Continuing"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._to_answer: Turn | None = None  # is being stopped, to be continued with its answer
        self._refused = False  # the server was asked to write on, and would not

    # --- ending the thinking -----------------------------------------------------------------

    def answer_now(self, _: str) -> None:
        """End the thinking of the answer under way, or answer from what was thought before."""
        chat, turn = self.chat, self.chat.live
        if turn is None:
            last = chat.conversation.retriable()
            if last is not None and last.thinks_only:
                chat.call_later(self.go_on, last, answers=True)
            else:
                chat.hint("Nothing is being thought.")
        elif turn.phase is not TurnState.THINKING:
            done = turn.phase is TurnState.ANSWERING
            chat.hint("It answers already." if done else "It does not think yet.")
        else:
            chat.run_worker(self._end(turn), group="control", exclusive=True, exit_on_error=False)

    async def _end(self, turn: Turn) -> None:
        """Have the server end the thinking, else stop it and go on with the answer."""
        chat = self.chat

        def thinks() -> bool:
            return chat.live is turn and turn.phase is TurnState.THINKING

        end = await end_of_thinking(chat.host_task.host, chat.options.dialect, chat.clock, thinks)
        if end is ThinkingEnd.BY_SERVER:
            chat.hint("The thinking ends here; the answer follows.")
            return
        if end is ThinkingEnd.OVER:
            return
        if self._can_write_on(turn):
            self._to_answer = turn
            await chat.stop_answer()
        else:
            chat.hint("This server cannot be told to answer now. Esc stops it.")

    # --- continuing --------------------------------------------------------------------------

    async def resume(self, _: str) -> None:
        """Go on with the last answer, where it broke off."""
        chat = self.chat
        turn = chat.conversation.retriable()
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
        elif turn is None:
            chat.hint("No answer to continue.")
        elif not self.open_ended(turn):
            chat.hint("This answer is whole.")
        else:
            await self.go_on(turn, answers=turn.thinks_only and turn.finish == "stop")

    async def entered(self) -> None:
        """Go on, as Enter with nothing typed does below an answer that says so."""
        turn = self.chat.conversation.retriable()
        if turn is not None and turn.phase is TurnState.DONE and self.open_ended(turn):
            await self.resume("")

    def open_ended(self, turn: Turn) -> bool:
        """Whether an answer broke off, or never began."""
        return open_ended(turn, self.chat.setup.context)

    async def go_on(self, turn: Turn, *, answers: bool) -> None:
        """Go on with an answer; `answers`: its thinking is over."""
        chat = self.chat
        chat.wing(Versions).leave()
        chat.transcript.follow()
        if self._can_write_on(turn):
            make = partial(chat.conversation.continued, answers=answers)
            await chat.ask(turn, again=True, make=make)
        elif steps := up_to_results(turn):
            await chat.ask(turn, again=True, make=partial(chat.conversation.continued, steps=steps))
        elif turn.answered:
            following = await chat.wing(Versions).begin_turn(TypedMessage(GO_ON, ()))
            await chat.ask(following)
        elif not turn.thinks_only:  # it broke off at a call
            chat.hint("It cannot be continued from a call: the question is asked again.")
            await chat.ask(turn, again=True)
        else:
            chat.hint("This server cannot continue what was thought: it is asked to think less.")
            await chat.ask(turn, again=True, make=self._with_less)

    def _with_less(self, turn: Turn) -> Turn:
        again = self.chat.conversation.regenerate(turn)
        again.effort = LESS_EFFORT
        return again

    def _can_write_on(self, turn: Turn) -> bool:
        return not self._refused and can_write_on(turn, self.chat.options.dialect)

    def ended(self, message: ChatTalk.Ended) -> None:
        """Go on with what was stopped for that, or otherwise where the server would not."""
        turn = message.turn
        to_answer, self._to_answer = self._to_answer, None
        if to_answer is turn and turn.phase is TurnState.STOPPED:
            self.chat.call_later(self.go_on, turn, answers=True)
        elif turn.prefill() is not None and isinstance(turn.error, UsageError):
            self._refused = True
            self.chat.call_later(self._otherwise)

    def host_changed(self, message: ChatTalk.HostChanged) -> None:
        """Have a server that is another one write on: it may do so."""
        if isinstance(message.event, HostKnown):
            self._refused = False

    async def _otherwise(self) -> None:
        if (turn := self.chat.conversation.retriable()) is not None and not self.chat.busy:
            await self.go_on(turn, answers=False)

    actions = (
        ANSWER.by(answer_now, keys=("alt+a",), priority=True),
        CONTINUE.by(resume),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        ChatTalk.Ended: ended,
        ChatTalk.HostChanged: host_changed,
    }
