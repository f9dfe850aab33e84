"""The steps of an answer as people are shown them, in the order in which they happened. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from runner.chat.steps import StepKind, ToolUse, TurnStep, rate, seconds, tokens, uses_of, words

# A judgement: the most rounds of calls that one answer may have (24), each with its thinking and
# its text, fit in. What a server sends may alternate with each token; all behind that is put
# together by kinds.
SECTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Section:
    """Neighbouring steps of a kind: `steps` of thinking or text, or `uses` of tools.

    `kind` is CALL for these. `nth`: which section of its kind it is, from 0.
    """

    kind: StepKind
    nth: int
    steps: tuple[TurnStep, ...] = ()
    uses: tuple[ToolUse, ...] = ()

    @property
    def text(self) -> str:
        """The words, as they are."""
        return words(self.steps, self.kind)

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return tokens(self.steps, self.kind)

    @property
    def seconds(self) -> float:
        """How many seconds it took."""
        return seconds(self.steps, self.kind)

    @property
    def rate(self) -> float:
        """Tokens per second, 0 where unknown."""
        return rate(self.tokens, self.seconds)


def sections_of(steps: Sequence[TurnStep]) -> list[Section]:
    """Return the sections of an answer, each call with what it returned.

    Steps of blanks alone are left out. Of more than `SECTIONS`, those that are too many are one of
    each kind at the end.
    """
    uses = iter(uses_of(steps))
    groups: list[tuple[StepKind, list[TurnStep | ToolUse]]] = []
    for step in steps:
        if step.kind is StepKind.RESULT:
            continue
        if step.kind is not StepKind.CALL and (not step.text or step.text.isspace()):
            continue
        if not groups or groups[-1][0] is not step.kind:
            groups.append((step.kind, []))
        groups[-1][1].append(next(uses) if step.kind is StepKind.CALL else step)
    if len(groups) > SECTIONS:
        groups = [*groups[: SECTIONS - 3], *_by_kind(groups[SECTIONS - 3 :])]
    numbers: Counter[StepKind] = Counter()
    sections = []
    for kind, group in groups:
        own = tuple(each for each in group if isinstance(each, TurnStep))
        uses_here = tuple(each for each in group if isinstance(each, ToolUse))
        sections.append(Section(kind, numbers[kind], own, uses_here))
        numbers[kind] += 1
    return sections


def _by_kind(
    groups: Iterable[tuple[StepKind, list[TurnStep | ToolUse]]],
) -> list[tuple[StepKind, list[TurnStep | ToolUse]]]:
    joined: dict[StepKind, list[TurnStep | ToolUse]] = {}
    for kind, group in groups:
        joined.setdefault(kind, []).extend(group)
    order = (StepKind.THINKING, StepKind.CALL, StepKind.TEXT)
    return [(kind, joined[kind]) for kind in order if kind in joined]
