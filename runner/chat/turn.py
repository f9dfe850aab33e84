"""What a chat is, without any widget: turns, what of them is sent, what is shown. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from runner.base.errors import SteprunError
from runner.base.text import clean, clean_name
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
)
from runner.chat.sessions.store import SessionEntry
from runner.chat.wire import Message, Picture

TIMES = "\N{MULTIPLICATION SIGN}"

# Mounted widgets are the chat's budget: Textual's reflow visits each of them on every change.
TAIL = 20
BATCH = 10
MOST = 60


class TurnState(Enum):
    """How far a turn has come."""

    QUEUED = auto()  # the engine is not ready yet
    READING = auto()
    THINKING = auto()
    ANSWERING = auto()
    DONE = auto()
    STOPPED = auto()
    FAILED = auto()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self in (TurnState.DONE, TurnState.STOPPED, TurnState.FAILED)


@dataclass(slots=True, eq=False)
class Turn:
    """A question and its answer as far as it has come. `error` is one of Failed's."""

    text: str
    pictures: tuple[Picture, ...] = ()
    phase: TurnState = TurnState.QUEUED
    reasoning: str = ""
    answer: str = ""
    finish: str = ""
    usage: Usage | None = None
    error: SteprunError | None = None
    failed: str = ""  # the words of an error from an earlier run
    read: int = 0  # prompt tokens read so far, of
    to_read: int = 0
    thought_tokens: int = 0
    answer_tokens: int = 0
    began_at: float = 0.0  # of the first token, by a monotonic clock
    thought_s: float = 0.0
    latest_at: float = 0.0

    def begin(self) -> None:
        """Start (again) from nothing: the question is about to be sent."""
        self.phase = TurnState.READING
        self.reasoning = self.answer = self.finish = self.failed = ""
        self.usage = self.error = None
        self.read = self.to_read = self.thought_tokens = self.answer_tokens = 0
        self.began_at = self.thought_s = self.latest_at = 0.0

    def apply(self, event: Event, now: float) -> None:
        """Take in what happened at `now` (seconds of a monotonic clock)."""
        match event:
            case PromptProgress(done, total):
                self.read, self.to_read = done, total
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
            case Usage():
                self.usage = event
            case Finished(reason):
                self.finish = reason
                self.phase = TurnState.DONE
            case Failed(error):
                self.error = error
                self.phase = TurnState.FAILED
            case Loading() | ToolCall():
                pass  # loading is told by the host; this chat offers no tools

    def _token(self, now: float) -> None:
        self.began_at = self.began_at or now
        self.latest_at = now

    def stop(self) -> None:
        """Mark it as ended by the user; what came stays."""
        if not self.phase.over:
            self.phase = TurnState.STOPPED

    @property
    def answered(self) -> bool:
        """Whether any of the answer came."""
        return bool(self.answer.strip())

    def rate(self) -> float:
        """Return tokens per second: the server's figure, or what was counted. 0: unknown."""
        if self.usage is not None and self.usage.decode_tps:
            return self.usage.decode_tps
        # A chunk is a token, near enough; the first one only starts the clock.
        tokens, seconds = (
            self.thought_tokens + self.answer_tokens - 1,
            self.latest_at - self.began_at,
        )
        return tokens / seconds if tokens > 0 and seconds > 0.2 else 0.0

    def thought_rate(self) -> float:
        """Return the tokens per second of the thinking."""
        enough = self.thought_tokens > 1 and self.thought_s > 0.2
        return (self.thought_tokens - 1) / self.thought_s if enough else 0.0

    def context_used(self) -> int:
        """Return how many tokens of the context are in use, 0 where unknown."""
        if self.usage is not None:
            return self.usage.prompt_tokens + self.usage.completion_tokens
        if self.to_read:
            return self.read + self.thought_tokens + self.answer_tokens
        return 0

    def note(self, context: int = 0) -> str:
        """Return what is to be said under the answer, in words."""
        if self.phase is TurnState.QUEUED:
            return "Waiting for the engine. Esc takes the message back."
        if self.phase is TurnState.STOPPED:
            return "stopped"
        if self.phase is TurnState.FAILED:
            return self.failed
        if self.phase is not TurnState.DONE:
            return ""
        if self.finish == "length" and context and self.context_used() >= context - 1:
            return "The context is full. Go on in a new conversation: /new"
        if self.finish == "length" and not self.answered:
            return (
                "Thinking used up the whole budget before the answer began. Type /effort low and "
                "then /retry, or start with more room: --max-tokens N"
            )
        if self.finish == "length":
            return 'Cut off at the token limit. Type "go on", or start with: --max-tokens N'
        if not self.answered:
            return "The model ended without an answer. Ask again: /retry"
        return ""


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
        elif turns:
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


def last_words(text: str, chars: int) -> str:
    """Return the end of a text on one line, from the start of a word."""
    text = " ".join(text[-2 * chars :].split())
    return text if len(text) <= chars else "… " + text[2 - chars :].partition(" ")[2]


def chip(number: int, picture: Picture, *, prices: bool) -> str:
    """Return the line that stands for a picture."""
    price = f" (~{picture.tokens:,} tokens)" if prices else ""
    size = f"{picture.width}{TIMES}{picture.height}"
    return f"[Image #{number}] {clean_name(picture.name)} {size}{price}"


def chip_lines(pictures: Sequence[Picture], rows: int, *, prices: bool) -> list[str]:
    """Return the lines that stand for pictures, at most `rows`."""
    lines = [chip(number, picture, prices=prices) for number, picture in enumerate(pictures, 1)]
    if len(lines) > rows:
        lines[rows - 1 :] = [f"and {len(lines) - rows + 1} more"]
    return lines


def to_markdown(turns: Sequence[Turn], title: str) -> str:
    """Return the conversation as a Markdown document."""
    parts = [f"# {title}"]
    for turn in turns:
        chips = [
            f"- {chip(number, picture, prices=False)}"
            for number, picture in enumerate(turn.pictures, 1)
        ]
        parts.append("## You")
        parts += ["\n".join(chips)] if chips else []
        parts += [turn.text] if turn.text else []
        parts.append(f"## {title}")
        if turn.reasoning.strip():
            parts.append(
                f"<details><summary>Thinking</summary>\n\n{turn.reasoning.strip()}\n\n</details>"
            )
        if turn.answered:
            parts.append(turn.answer.strip())
        if turn.phase is TurnState.STOPPED:
            parts.append("*(stopped)*")
        elif turn.phase is TurnState.FAILED:
            parts.append(f"*(failed: {turn.error or turn.failed})*")
    return "\n\n".join(parts) + "\n"


def tail(total: int) -> range:
    """Return which turns are mounted at the end of the conversation."""
    return range(max(0, total - TAIL), total)


def earlier(window: range) -> range:
    """Return the window with a batch of earlier turns, bounded at its end."""
    start = max(0, window.start - BATCH)
    return range(start, min(window.stop, start + MOST))


def later(window: range, total: int) -> range:
    """Return the window with a batch of later turns, bounded at its start."""
    stop = min(total, window.stop + BATCH)
    return range(max(window.start, stop - MOST), stop)
