"""A turn: what an event changes in it, which parts are sent and saved. No widgets. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum, auto
from itertools import islice, takewhile
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
    ToolsRefused,
    Usage,
    WasReasoning,
)
from runner.chat.files.attached import AttachedFile
from runner.chat.reading import reading_text
from runner.chat.steps import (
    StepKind,
    TurnStep,
    rate,
    seconds,
    since_result,
    steps_of,
    tokens,
    uses_of,
    words,
)
from runner.chat.wire import Picture, Prefill


class TurnState(Enum):
    """How far a turn is."""

    QUEUED = auto()  # the engine is not ready yet
    PREFILL = auto()
    THINKING = auto()
    ANSWERING = auto()
    CALLING = auto()  # the tools that it called are being run
    ASKING = auto()  # the user is asked whether one may run
    DONE = auto()
    STOPPED = auto()
    FAILED = auto()
    CUT = auto()  # the program ended before the answer did

    @property
    def over(self) -> bool:
        """Whether nothing more will arrive."""
        return self in (TurnState.DONE, TurnState.STOPPED, TurnState.FAILED, TurnState.CUT)


CALL_CHARACTERS: Final = 1 << 20
"""Of a call's arguments, as of a message: a server that never ends one must not fill memory."""

OPEN_CALLS: Final = 64
"""Among so many of the latest calls a piece looks for its own: more, no model makes at once."""

SAID: Final = (StepKind.THINKING, StepKind.TEXT)


class Turn:
    """A question and its answer so far, as steps in order. `error` is that of a `Failed` event.

    `asked_id`, `answer_id`: where the session has them, empty before. `broken`: a part of it is
    lost, so it is shown and not sent. `prefilled` of `prompt_tokens` are processed so far;
    `began_at`, of the first token, and `latest_at` are seconds of a monotonic clock. `kept`: the
    steps of an earlier answer that this one goes on from; `answers`: with its thinking at an end.
    `effort`: of this turn alone. `thinking_cap`: tokens of thinking, 0 where there is no limit;
    `can_answer`: the thinking can be ended while it lasts.
    """

    def __init__(
        self,
        text: str,
        pictures: tuple[Picture, ...] = (),
        phase: TurnState = TurnState.QUEUED,
        *,
        reasoning: str = "",
        answer: str = "",
        steps: Iterable[TurnStep] = (),
        finish: str = "",
        usage: Usage | None = None,
        error: SteprunError | None = None,
        failed: str = "",
        prefilled: int = 0,
        prompt_tokens: int = 0,
        files: tuple[AttachedFile, ...] = (),
    ) -> None:
        """Make a turn; `reasoning` and `answer` are steps of which only the words are known."""
        self.text = text
        self.pictures = pictures
        self.files = files
        self.phase = phase
        self.steps = [*steps, *steps_of(reasoning, answer)]
        self.finish = finish
        self.usage = usage
        self.error = error
        self.failed = failed  # the text of an error from an earlier run
        self.prefilled = prefilled
        self.prompt_tokens = prompt_tokens
        self.began_at = self.latest_at = 0.0
        self.asked_id = self.answer_id = ""
        self.broken = False
        self.kept: tuple[TurnStep, ...] = ()
        self.answers = False
        self.effort = ""
        self.thinking_cap = 0
        self.can_answer = False

    def go_on_from(self, steps: Iterable[TurnStep], *, answers: bool) -> None:
        """Begin with steps of an earlier answer; `answers`: whether its thinking is over."""
        self.kept, self.answers = tuple(steps), answers

    def prefill(self) -> Prefill | None:
        """Return what the server is to write on behind, None where nothing is said there yet."""
        if not self.kept or self.latest_at:
            return None
        called = (at for at, step in enumerate(self.kept, 1) if step.kind not in SAID)
        since = self.kept[max(called, default=0) :]
        if not since:
            return None
        thought, text = (words(since, kind) for kind in SAID)
        return Prefill(thought, text, self.answers)

    @property
    def grew(self) -> bool:
        """Whether anything of the answer arrived, beside what was there before."""
        return bool(self.steps) and (not self.kept or self.latest_at > 0)

    @property
    def thinks_only(self) -> bool:
        """Whether thinking is all that came of it."""
        return self.phase.over and not (self.answered or self.calls) and bool(self.reasoning)

    @property
    def reasoning(self) -> str:
        """All that it thought."""
        return words(self.steps, StepKind.THINKING)

    @property
    def answer(self) -> str:
        """All that it answered."""
        return words(self.steps, StepKind.TEXT)

    @property
    def thought_tokens(self) -> int:
        """How many tokens it thought."""
        return tokens(self.steps, StepKind.THINKING)

    @property
    def answer_tokens(self) -> int:
        """How many tokens it answered."""
        return tokens(self.steps, StepKind.TEXT)

    @property
    def thought_s(self) -> float:
        """How many seconds it thought."""
        return seconds(self.steps, StepKind.THINKING)

    def begin(self) -> None:
        """Reset the answer: the question is about to be sent (again)."""
        self.phase = TurnState.PREFILL
        self.steps = [replace(step, began_at=0.0) for step in self.kept]
        self.finish = self.failed = ""
        self.usage = self.error = None
        self.prefilled = self.prompt_tokens = 0
        self.began_at = self.latest_at = 0.0

    def go_on(self) -> None:
        """Take in that the model is asked again, with what its calls returned."""
        self.phase = TurnState.PREFILL
        self.prefilled = self.prompt_tokens = 0

    def apply(self, event: Event, now: float) -> None:
        """Apply an event that happened at `now` (seconds of a monotonic clock)."""
        match event:
            case PromptProgress(done, total):  # how fast, `AnswerClock` knows
                self.prefilled, self.prompt_tokens = done, total
            case Reasoning(text):
                self.phase = TurnState.THINKING
                self._add(StepKind.THINKING, clean(text), now)
            case Text(text):
                # Models begin their answer with the blank lines that the template left.
                before = self.steps[since_result(self.steps) :]
                text = clean(text) if words(before, StepKind.TEXT) else clean(text).lstrip("\n")
                if self._add(StepKind.TEXT, text, now).text.strip():
                    self.phase = TurnState.ANSWERING
            case WasReasoning():
                self.phase = TurnState.THINKING
                self._was_reasoning(now)
            case ToolCall():
                self._call(event, now)
            case Usage():
                self.usage = event
            case Finished(reason):
                self.finish = reason
                self.phase = TurnState.DONE
            case Failed(error):
                self.error = error
                self.phase = TurnState.FAILED
            case Loading() | ToolsRefused():
                pass  # the host reports it, and who offered them

    def _add(self, kind: StepKind, text: str, now: float) -> TurnStep:
        """Add a token to the last step, or to a new one where that is of another kind."""
        step = self.steps[-1] if self.steps else None
        if step is None or step.kind is not kind:
            step = TurnStep(kind, began_at=now)
            self.steps.append(step)
        self._token(step, now)
        step.text += text
        return step

    def _call(self, piece: ToolCall, now: float) -> None:
        """Add a piece of a call: pieces of one call have its index, and others come between."""
        latest = islice(reversed(self.steps), OPEN_CALLS)
        now_open = takewhile(lambda step: step.kind is StepKind.CALL, latest)
        same = (
            step for step in now_open if step.index == piece.index and piece.id in ("", step.call)
        )
        step = next(same, None)
        if step is None:
            step = TurnStep(StepKind.CALL, began_at=now, index=piece.index)
            self.steps.append(step)
        self._token(step, now)
        step.call = step.call or clean(piece.id)
        step.name += clean(piece.name)
        step.text = (step.text + clean(piece.arguments))[:CALL_CHARACTERS]

    def _was_reasoning(self, now: float) -> None:
        """Make one step of thinking of all that was thought and answered since a tool's result."""
        at = since_result(self.steps)
        written = [step for step in self.steps[at:] if step.kind in SAID]
        began_at = written[0].began_at if written else now
        thought = TurnStep(
            StepKind.THINKING,
            "".join(step.text for step in written),
            now - began_at,
            sum(step.tokens for step in written),
            began_at=began_at,
        )
        rest = [step for step in self.steps[at:] if step.kind not in SAID]
        self.steps[at:] = [thought, *rest]

    def _token(self, step: TurnStep, now: float) -> None:
        self.began_at = self.began_at or now
        self.latest_at = now
        step.began_at = step.began_at or now - step.seconds  # it may go on from an earlier one
        step.tokens += 1
        step.seconds = now - step.began_at

    @property
    def calls(self) -> list[TurnStep]:
        """The tool calls that it made."""
        return [step for step in self.steps if step.kind is StepKind.CALL]

    @property
    def not_run(self) -> list[TurnStep]:
        """The tool calls that have no result."""
        return [use.call for use in uses_of(self.steps) if use.result is None]

    def stop(self) -> None:
        """Mark it as ended by the user; what arrived stays."""
        if not self.phase.over:
            self.phase = TurnState.STOPPED

    @property
    def answered(self) -> bool:
        """Whether any of the answer arrived."""
        return bool(self.answer.strip())

    @property
    def worth(self) -> tuple[bool, bool, bool]:
        """What decides which of two answers to a question stands; the greater one does."""
        failed = self.phase is TurnState.FAILED
        return self.answered and not failed, self.answered, bool(self.steps) or failed

    def rate(self) -> float:
        """Return tokens per second: the server's figure, or what was counted. 0: unknown."""
        if self.usage is not None and self.usage.decode_tps:
            return self.usage.decode_tps
        # A chunk is a token, near enough.
        counted = sum(step.tokens for step in self.steps) - sum(step.tokens for step in self.kept)
        return rate(counted, self.latest_at - self.began_at)

    def context_used(self) -> int:
        """Return how many tokens of the context are in use, 0 where unknown."""
        if self.usage is not None:
            written = self.usage.completion_tokens - self.usage.earlier_tokens
            return self.usage.prompt_tokens + written
        if self.prompt_tokens:
            return self.prefilled + self.thought_tokens + self.answer_tokens
        return 0

    def note(self, context: int = 0) -> str:
        """Return the note below the answer, empty where none is needed. `context` in tokens."""
        if self.phase is TurnState.QUEUED:
            return "Not sent yet. Esc takes the message back."
        if self.phase is TurnState.STOPPED:
            return "stopped; /continue resumes it" if self.steps else "stopped"
        if self.phase is TurnState.FAILED:
            return self.failed
        if self.phase is TurnState.CUT:
            more = "/continue resumes it, " if self.steps else ""
            return f"Cut off: the program ended before the answer did. {more}/retry asks again."
        if self.phase is not TurnState.DONE:
            return ""
        if self.finish == "length" and context and self.context_used() >= context - 1:
            return "The context is full. Continue in a new chat: /new"
        if self.thinks_only:
            return self._thought_only()
        if self.finish == "length":
            return f"Cut off at the token limit (--max-tokens). {_ENTER} continues it."
        if self.finish in TOOL_LIMITS:
            return TOOL_LIMITS[self.finish]
        if self.not_run:
            return f"It called {self._calls()}. {_NO_TOOLS}"
        missing = self.missing(context)
        return f"{missing.what} {missing.why} Ask again: /retry" if missing else ""

    def _thought_only(self) -> str:
        """Say that it ended in its thinking, and what one key does about it."""
        count = f"{self.thought_tokens:,} tokens of thinking" if self.thought_tokens else "thinking"
        if self.finish == "length":
            return (
                f"All it wrote was {count}: the token limit (--max-tokens) ended it before the "
                f"answer. {_ENTER} lets it continue; /answer has it answer now."
            )
        return (
            f"It ended after {count}, without an answer. {_ENTER} has it answer from what it "
            "thought; /effort low lets it think less."
        )

    def reading(self) -> str:
        """Return how the prompt of a finished answer was read, empty where that says nothing."""
        return reading_text(self.usage) if self.usage and self.phase is TurnState.DONE else ""

    def _calls(self) -> str:
        return calls_text([(call.name, call.text) for call in self.not_run]) or "a tool"

    def missing(self, context: int = 0) -> SteprunError | None:
        """Return why a finished answer has no text; None where it has some. `context` in tokens."""
        if self.answered or self.phase is not TurnState.DONE:
            return None
        usage = self.usage or Usage()
        read, wrote = usage.prompt_tokens, usage.completion_tokens
        why, after = f'The server ended it with "{clean_name(self.finish)}" and gave no reason.', ""
        if self.finish == "content_filter":
            why, after = "The server's content filter withheld it.", "Ask in other words."
        elif self.finish in TOOL_LIMITS:
            why, after = TOOL_LIMITS[self.finish].split(" Type ")[0], 'Type "continue".'
        elif self.finish == "tool_calls" or self.not_run:
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


# What ended an answer that calls tools without end, as its `finish`, and what is said of it.
TOOL_LIMITS: Final[Mapping[str, str]] = {
    "tool_rounds": "It called tools as often as one answer may. Type "
    '"continue" to let it call more.',
    "tool_failures": "Its tool calls failed several times in a row, so it was stopped. Type "
    '"continue" to let it try again, or ask in other words.',
}
_ENTER: Final = "Enter, with nothing typed,"
_NO_TOOLS: Final = (
    "This chat offers no tools, so nothing was run. Ask it to answer without tools; if it calls "
    "them again, the server adds them: turn them off there."
)
