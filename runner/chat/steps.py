"""The steps of an answer, in the order in which they happened. Pure."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from runner.chat.wire import Picture


class StepKind(StrEnum):
    """What a step is; the values are those of the session format."""

    THINKING = "thinking"
    TEXT = "text"
    CALL = "call"
    RESULT = "result"


@dataclass(slots=True)
class TurnStep:
    """One step: a piece of thinking or of the answer, a tool call, or what a tool returned.

    `text`: the words; of a call its arguments, a JSON text as the model wrote it. `seconds` from
    the first token to the last, `tokens` as they were counted. `name` of the tool and `call`, the
    ID that joins a call with its result. `pictures` of a result. `began_at`: seconds of a
    monotonic clock; `index`: which call of an answer it is. Neither is saved.
    """

    kind: StepKind
    text: str = ""
    seconds: float = 0.0
    tokens: int = 0
    name: str = ""
    call: str = ""
    pictures: tuple[Picture, ...] = ()
    began_at: float = field(default=0.0, compare=False)
    index: int = field(default=0, compare=False)


def steps_of(reasoning: str, answer: str) -> list[TurnStep]:
    """Return the steps of an answer of which only the words are known."""
    kinds = ((StepKind.THINKING, reasoning), (StepKind.TEXT, answer))
    return [TurnStep(kind, text) for kind, text in kinds if text]


def words(steps: Iterable[TurnStep], kind: StepKind) -> str:
    """Return the text of all steps of a kind, a blank line between two of them."""
    texts = [step.text for step in steps if step.kind is kind and step.text]
    return texts[0] if len(texts) == 1 else "\n\n".join(texts)


def begins(some: Sequence[TurnStep], other: Sequence[TurnStep]) -> bool:
    """Whether other steps are these, and more behind them."""
    if not some or len(some) > len(other):
        return False
    pairs = list(zip(some, other, strict=False))
    last, longer = pairs[-1]
    same = [(each.kind, each.name, each.call) for each in some] == [
        (each.kind, each.name, each.call) for each in other[: len(some)]
    ]
    whole = all(one.text == two.text for one, two in pairs[:-1])
    more = len(other) > len(some) or len(longer.text) > len(last.text)
    return same and whole and more and longer.text.startswith(last.text)


def tokens(steps: Iterable[TurnStep], kind: StepKind) -> int:
    """Return how many tokens the steps of a kind have."""
    return sum(step.tokens for step in steps if step.kind is kind)


def seconds(steps: Iterable[TurnStep], kind: StepKind) -> float:
    """Return how many seconds the steps of a kind took."""
    return sum(step.seconds for step in steps if step.kind is kind)


def rate(tokens: int, seconds: float) -> float:
    """Return tokens per second, 0 while there are too few: the first only starts the clock."""
    return (tokens - 1) / seconds if tokens > 1 and seconds > 0.2 else 0.0


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call and what it returned; None: it was not run, or not to its end."""

    call: TurnStep
    result: TurnStep | None = None


def rounds_of(steps: Iterable[TurnStep]) -> Iterator[list[TurnStep]]:
    """Yield the steps of each request of an answer: a round ends with the results of its calls."""
    one: list[TurnStep] = []
    for step in steps:
        if one and one[-1].kind is StepKind.RESULT and step.kind is not StepKind.RESULT:
            yield one
            one = []
        one.append(step)
    if one:
        yield one


def uses_of(steps: Iterable[TurnStep]) -> list[ToolUse]:
    """Return each call with its result, in order; IDs are compared within a round."""
    found: list[ToolUse] = []
    for one in rounds_of(steps):
        results: defaultdict[str, deque[TurnStep]] = defaultdict(deque)
        for step in one:
            if step.kind is StepKind.RESULT:
                results[step.call].append(step)
        for call in (step for step in one if step.kind is StepKind.CALL):
            mine = results[call.call]
            found.append(ToolUse(call, mine.popleft() if mine else None))
    return found


def since_result(steps: Sequence[TurnStep]) -> int:
    """Return where the steps of the latest request begin: after the last result."""
    places = (at for at in range(len(steps), 0, -1) if steps[at - 1].kind is StepKind.RESULT)
    return next(places, 0)
