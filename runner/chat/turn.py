"""A turn: what an event changes in it, which parts are sent and saved. No widgets. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from runner.base.errors import SteprunError
from runner.base.text import clean, clean_name
from runner.chat.calls import calls_text
from runner.chat.events import (
    Event,
    Failed,
    Finished,
    Loading,
    PromptProgress,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    WasReasoning,
)
from runner.chat.reading import reading_text
from runner.chat.sessions.store import SessionEntry
from runner.chat.wire import Message, Picture


class TurnState(Enum):
    """How far a turn is."""

    QUEUED = auto()  # the engine is not ready yet
    PREFILL = auto()
    THINKING = auto()
    ANSWERING = auto()
    DONE = auto()
    STOPPED = auto()
    FAILED = auto()

    @property
    def over(self) -> bool:
        """Whether nothing more will arrive."""
        return self in (TurnState.DONE, TurnState.STOPPED, TurnState.FAILED)


@dataclass(slots=True, eq=False)
class Turn:
    """A question and its answer so far. `error` is that of a `Failed` event."""

    text: str
    pictures: tuple[Picture, ...] = ()
    phase: TurnState = TurnState.QUEUED
    reasoning: str = ""
    answer: str = ""
    finish: str = ""
    usage: Usage | None = None
    error: SteprunError | None = None
    failed: str = ""  # the text of an error from an earlier run
    prefilled: int = 0  # prompt tokens processed so far, of
    prompt_tokens: int = 0
    thought_tokens: int = 0
    answer_tokens: int = 0
    began_at: float = 0.0  # of the first token, by a monotonic clock
    thought_s: float = 0.0
    latest_at: float = 0.0
    called: dict[int, tuple[str, str]] = field(default_factory=dict)  # names and arguments of calls

    def begin(self) -> None:
        """Reset the answer: the question is about to be sent (again)."""
        self.phase = TurnState.PREFILL
        self.reasoning = self.answer = self.finish = self.failed = ""
        self.usage = self.error = None
        self.called = {}
        self.prefilled = self.prompt_tokens = self.thought_tokens = self.answer_tokens = 0
        self.began_at = self.thought_s = self.latest_at = 0.0

    def apply(self, event: Event, now: float) -> None:
        """Apply an event that happened at `now` (seconds of a monotonic clock)."""
        match event:
            case PromptProgress(done, total):  # how fast, `AnswerClock` knows
                self.prefilled, self.prompt_tokens = done, total
            case Reasoning(text):
                self._token(now)
                self.phase = TurnState.THINKING
                self.reasoning += clean(text)
                self.thought_tokens += 1
                self.thought_s = now - self.began_at
            case Text(text):
                self._token(now)
                # Models begin their answer with the blank lines that the template left.
                self.answer += clean(text) if self.answer else clean(text).lstrip("\n")
                self.answer_tokens += 1
                if self.answer.strip():
                    self.phase = TurnState.ANSWERING
            case WasReasoning():
                self.phase = TurnState.THINKING
                self.reasoning, self.answer = self.reasoning + self.answer, ""
                self.thought_tokens += self.answer_tokens
                self.answer_tokens, self.thought_s = 0, now - self.began_at
            case Usage():
                self.usage = event
            case Finished(reason):
                self.finish = reason
                self.phase = TurnState.DONE
            case Failed(error):
                self.error = error
                self.phase = TurnState.FAILED
            case ToolCall(index, _, name, arguments):
                self._token(now)
                before = self.called.get(index, ("", ""))
                self.called[index] = (before[0] + name, (before[1] + arguments)[:_CALL_CHARACTERS])
            case Loading():
                pass  # the host reports it

    def _token(self, now: float) -> None:
        self.began_at = self.began_at or now
        self.latest_at = now

    def stop(self) -> None:
        """Mark it as ended by the user; what arrived stays."""
        if not self.phase.over:
            self.phase = TurnState.STOPPED

    @property
    def answered(self) -> bool:
        """Whether any of the answer arrived."""
        return bool(self.answer.strip())

    def rate(self) -> float:
        """Return tokens per second: the server's figure, or what was counted. 0: unknown."""
        if self.usage is not None and self.usage.decode_tps:
            return self.usage.decode_tps
        # A chunk is a token, near enough.
        tokens = self.thought_tokens + self.answer_tokens
        return _rate(tokens, self.latest_at - self.began_at)

    def thought_rate(self) -> float:
        """Return the tokens per second of the thinking."""
        return _rate(self.thought_tokens, self.thought_s)

    def context_used(self) -> int:
        """Return how many tokens of the context are in use, 0 where unknown."""
        if self.usage is not None:
            return self.usage.prompt_tokens + self.usage.completion_tokens
        if self.prompt_tokens:
            return self.prefilled + self.thought_tokens + self.answer_tokens
        return 0

    def note(self, context: int = 0) -> str:
        """Return the note below the answer, empty where none is needed. `context` in tokens."""
        if self.phase is TurnState.QUEUED:
            return "Waiting for the engine. Esc takes the message back."
        if self.phase is TurnState.STOPPED:
            return "stopped"
        if self.phase is TurnState.FAILED:
            return self.failed
        if self.phase is not TurnState.DONE:
            return ""
        if self.finish == "length" and context and self.context_used() >= context - 1:
            return "The context is full. Continue in a new chat: /new"
        if self.finish == "length" and not self.answered:
            return (
                "Reasoning used all tokens before the answer began. Type /effort low and then "
                "/retry, or start with a higher limit: --max-tokens N"
            )
        if self.finish == "length":
            return 'Cut off at the token limit. Type "continue", or start with: --max-tokens N'
        if self.called:
            return f"It called {self._calls()}. {_NO_TOOLS}"
        missing = self.missing(context)
        return f"{missing.what} {missing.why} Ask again: /retry" if missing else ""

    def reading(self) -> str:
        """Return how the prompt of a finished answer was read, empty where that says nothing."""
        return reading_text(self.usage) if self.usage and self.phase is TurnState.DONE else ""

    def _calls(self) -> str:
        return calls_text(list(self.called.values())) or "a tool"

    def missing(self, context: int = 0) -> SteprunError | None:
        """Return why a finished answer has no text; None where it has some. `context` in tokens."""
        if self.answered or self.phase is not TurnState.DONE:
            return None
        usage = self.usage or Usage()
        read, wrote = usage.prompt_tokens, usage.completion_tokens
        why, after = f'The server ended it with "{clean_name(self.finish)}" and gave no reason.', ""
        if self.finish == "content_filter":
            why, after = "The server's content filter withheld it.", "Ask in other words."
        elif self.finish == "tool_calls" or self.called:
            why = f"It called {self._calls()}, and this chat offers no tools."
            after = "Ask it to answer without tools."
        elif self.reasoning.strip():
            why = f"It ended after {wrote or self.thought_tokens:,} tokens, all of them reasoning."
            after = "See them with --show-thinking, or lower the effort: --effort low"
        elif self.finish == "length" or (read and not wrote):
            size = f" of {context:,} tokens" if context else ""
            prompt = f"The prompt of {read:,} tokens" if read else "The prompt"
            why = f"{prompt} may be longer than the server's context{size}."
            after = "Shorten the question, or give the server a larger context."
        return SteprunError(
            "The model produced no answer.", why=why, next=after or "Ask again, or check its log."
        )


_CALL_CHARACTERS: Final = 4096  # more of its arguments is not shown
_NO_TOOLS: Final = (
    "This chat offers no tools, so nothing was run. Ask it to answer without tools; if it calls "
    "them again, the server adds them: turn them off there."
)


def _rate(tokens: int, seconds: float) -> float:
    """Return tokens per second, 0 while there are too few: the first only starts the clock."""
    return (tokens - 1) / seconds if tokens > 1 and seconds > 0.2 else 0.0


def to_messages(turns: Sequence[Turn]) -> list[Message]:
    """Return the conversation as it is sent.

    A question that failed is left out: it may be what the server cannot take. One that was
    stopped before its answer is joined with the next: templates want the roles to alternate.
    """
    messages: list[Message] = []
    for turn in turns:
        last = turn is turns[-1]
        if turn.phase is TurnState.FAILED and not turn.answered and not last:
            continue
        question = Message("user", turn.text, turn.pictures)
        if messages and messages[-1].role == "user":
            before = messages.pop()
            text = "\n\n".join(part for part in (before.text, question.text) if part)
            question = Message("user", text, (*before.pictures, *question.pictures))
        messages.append(question)
        if turn.answered and not last:
            messages.append(Message("assistant", turn.answer))
    return messages


def to_turns(entries: Sequence[SessionEntry]) -> list[Turn]:
    """Return the turns of a saved session, whose text is not trusted."""
    turns: list[Turn] = []
    for entry in entries:
        message = entry.message
        if message.role == "user":
            turns.append(Turn(clean(message.text), message.pictures, TurnState.STOPPED))
        elif turns and not turns[-1].finish:  # an answer whose question was lost is left out
            turn = turns[-1]
            turn.answer, turn.reasoning = clean(message.text), clean(message.reasoning)
            turn.finish, turn.failed = clean_name(entry.finish or "stop"), clean(entry.failed)
            turn.usage = entry.usage
            turn.phase = TurnState.DONE
            if entry.failed:
                turn.phase = TurnState.FAILED
            elif entry.stopped:
                turn.phase = TurnState.STOPPED
    return turns


def to_entry(turn: Turn) -> SessionEntry:
    """Return a turn's answer as it is saved."""
    return SessionEntry(
        Message("assistant", turn.answer, reasoning=turn.reasoning),
        stopped=turn.phase is TurnState.STOPPED,
        failed=str(turn.error) if turn.error else turn.failed,
        finish=turn.finish,
        usage=turn.usage,
    )
