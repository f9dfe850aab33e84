"""The words in which plain lines tell an answer while it arrives. Pure."""

from typing import Final

from runner.base.loaded import Loaded
from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.clock import AnswerClock
from runner.chat.steps import StepKind, TurnStep, since_result
from runner.chat.turn import Turn, TurnState

FIRST_S: Final = 5.0  # of waiting, before a line says for what
EACH_S: Final = 30.0  # between two of these lines
HELD_CHARS: Final = 60  # of a word that has not ended: some languages put no blanks between words
QUOTED: Final = 300  # characters of what a tool is asked and answers

# While a tool runs, or waits for permission, nothing more comes of the calls.
_CALLED: Final = (TurnState.CALLING, TurnState.ASKING)
REASONED: Final = "(That was the reasoning. The answer follows.)\n"


class AnswerWords:
    """What is to be printed of an answer, in whole words, as it grows. `thinking`: with it.

    Each piece is new: nothing that was printed is taken back. It begins at the start of a line.
    """

    def __init__(self, *, thinking: bool = False) -> None:
        self._thinking = thinking
        self._at = 0  # how many steps are printed whole
        self._last: TurnStep | None = None  # of them
        self._step: TurnStep | None = None  # the one that is being printed
        self._chars = 0  # of it that are printed
        self._calls: set[int] = set()  # the identities of the calls and results that are printed
        self._line_open = False

    def more(self, turn: Turn, *, end: bool = False) -> str:
        """Return what is new since the last call; `end`: all that is left, and a line feed."""
        new: list[str] = []
        steps = turn.steps
        if self._rewritten(steps):
            # What looked like the answer has become thinking, in a step of its own.
            new += [self._new_line(), REASONED]
            self._at, self._step = since_result(steps) + 1, None
            while self._at < len(steps) and id(steps[self._at]) in self._calls:
                self._at += 1
            self._last = steps[self._at - 1]
        while self._at < len(steps):
            step = steps[self._at]
            whole = end or self._at < len(steps) - 1 or turn.phase in _CALLED
            if step is not self._step:
                self._step, self._chars = step, 0
            new.append(self._piece(step, whole=whole))
            if not whole:
                break
            new.append(self._new_line())
            if step.kind in (StepKind.CALL, StepKind.RESULT):
                self._calls.add(id(step))
            self._at, self._last, self._step = self._at + 1, step, None
        return "".join(new)

    def _rewritten(self, steps: list[TurnStep]) -> bool:
        """Whether what was printed is no longer what the answer begins with."""
        if not steps:
            return False
        done = self._at and (len(steps) < self._at or steps[self._at - 1] is not self._last)
        now = self._step is not None and (
            len(steps) <= self._at or steps[self._at] is not self._step
        )
        return bool(done) or now

    def _piece(self, step: TurnStep, *, whole: bool) -> str:
        if step.kind is StepKind.TEXT or (step.kind is StepKind.THINKING and self._thinking):
            begin = "Thinking:\n" if step.kind is StepKind.THINKING and not self._chars else ""
            words = _whole_words(step.text[self._chars :], whole=whole)
            self._chars += len(words)
            if words:
                self._line_open = not words.endswith("\n")
            return begin + words if words else ""
        return f"{_sentence(step)}\n" if whole else ""

    def _new_line(self) -> str:
        open_line, self._line_open = self._line_open, False
        return "\n" if open_line else ""


def _whole_words(text: str, *, whole: bool) -> str:
    """Return the beginning of a text up to its last whole word."""
    if whole or len(text) > HELD_CHARS + max(text.rfind(" "), text.rfind("\n")):
        return text
    return text[: max(text.rfind(" "), text.rfind("\n")) + 1]


def _sentence(step: TurnStep) -> str:
    """Return the line that stands for a step that is not read out."""
    match step.kind:
        case StepKind.THINKING:
            tokens = f"{step.tokens:,} token{'' if step.tokens == 1 else 's'}"
            return f"Thought for {duration(step.seconds)}, {tokens}."
        case StepKind.CALL:
            asked = " ".join(step.text.split())
            with_what = f" with {_short(asked)}" if asked else ""
            return f"Called {_short(step.name or 'a tool')}{with_what}."
        case _:
            count = len(step.pictures)
            images = f", {count} image{'s' if count > 1 else ''}" if count else ""
            returned = " ".join(step.text.split())
            return f"{_short(step.name or 'The tool')} returned{images}: {_short(returned)}"


def _short(text: str) -> str:
    return text if len(text) <= QUOTED else f"{text[:QUOTED]} … ({len(text):,} characters)"


class WaitingWords:
    """Says what is waited for: after `FIRST_S` without a word, and each `EACH_S` after that."""

    def __init__(self, now: float) -> None:
        self._due = now + FIRST_S

    def heard(self, now: float) -> None:
        """Note that something was printed: nobody wonders yet."""
        self._due = now + FIRST_S

    def due(self, now: float) -> bool:
        """Whether a line is due now; then the next one is in `EACH_S`."""
        if now < self._due:
            return False
        self._due = now + EACH_S
        return True


def waits_for(turn: Turn, clock: AnswerClock, now: float, *, own: bool) -> str:
    """Return a sentence about what an answer that runs waits for. `own`: our own engine."""
    waited = duration(clock.waited_s(now))
    if turn.phase is TurnState.THINKING:
        so_far = f"Thinking for {duration(turn.thought_s)}, {turn.thought_tokens:,} tokens so far"
        silent = clock.silent_s(now)
        return f"{so_far}; none for {duration(silent)}." if silent else f"{so_far}."
    if turn.phase is TurnState.ANSWERING:
        silent = clock.silent_s(now) or now - clock.token_at
        return f"No token of the answer for {duration(silent)}."
    if turn.phase is TurnState.CALLING:
        waits = turn.not_run
        name = clean_name(waits[0].name, 40) if waits and waits[0].name else "a tool"
        return f"Waiting for {name}."
    if clock.token_at:
        return f"The model is calling a tool, for {duration(now - clock.token_at)}."
    if clock.total:
        left = clock.left_s(now)
        until = f", {duration(left)} left" if left >= 1 else ""
        return f"Prefill: {clock.done:,} of {clock.total:,} tokens{until}."
    if not clock.connected_at:
        return f"Connecting, for {waited}."
    if clock.reading:
        return f"Prefill, for {waited}."
    return f"Waiting for the {'engine' if own else 'server'}, for {waited}."


def host_waits(seconds: float, loaded: Loaded | None, *, own: bool) -> str:
    """Return a sentence about a host that is waited for."""
    if loaded is not None:
        far = loaded.forms(seconds)[0].replace(" · ", ", ")
        return f"Loading the model: {far}."
    what = "Loading the model" if own else "Waiting for the server"
    return f"{what}: {duration(seconds)} so far."
