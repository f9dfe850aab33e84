"""Words found in the turns of a chat, whatever their case and accents. Pure.

A text is compared in its folded form: `Élan` and `elan` are the same there, and so are letters of
full and of half width. A phrase is found across line breaks; the marks of Markdown that the screen
does not show (`*` and the backtick) are not part of a text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runner.chat.sections import sections_of
from runner.chat.steps import StepKind
from runner.chat.turn import Turn

MOST: Final = 9_999  # hits that are counted: more than anybody walks through
WORDS_CHARS: Final = 200  # of what is looked for

# Combining classes (Unicode) of marks that change a letter and are no accent: nukta, kana voicing
# marks, virama. Those of class 0 are vowels.
_KEPT_MARKS: Final = (0, 7, 8, 9)


class _Folds(dict[int, str]):
    """What each character folds to; filled as characters come."""

    def __missing__(self, code: int) -> str:
        apart = unicodedata.normalize("NFKD", chr(code))
        kept = "".join(mark for mark in apart if unicodedata.combining(mark) in _KEPT_MARKS)
        self[code] = unicodedata.normalize("NFC", kept).casefold()
        return self[code]


_FOLDS: Final = _Folds({ord("*"): "", ord("`"): ""})
_FOLDS_ALL: Final = _Folds()


def folded(text: str, *, marks: bool = False) -> str:
    """Return a text as it is compared; `marks`: with the marks of Markdown."""
    return text.translate(_FOLDS_ALL if marks else _FOLDS)


def unfolded(text: str, begin: int, end: int, *, marks: bool = False) -> tuple[int, int]:
    """Return which characters of a text a range of its folded form stands for."""
    folds = _FOLDS_ALL if marks else _FOLDS
    place, start = 0, len(text)
    for at, char in enumerate(text):
        width = len(folds[ord(char)])
        if place + width > begin and start == len(text):
            start = at
        place += width
        if place >= end:
            return start, at + 1
    return start, len(text)


@dataclass(frozen=True, slots=True)
class Needle:
    """What is looked for: `pattern` is to be searched for in texts that are folded by `fold`."""

    words: str
    pattern: re.Pattern[str]
    marks: bool = False

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where it is in a text as it is written."""
        for found in self.pattern.finditer(folded(text, marks=self.marks)):
            yield unfolded(text, *found.span(), marks=self.marks)


def needle(words: str) -> Needle | None:
    """Return what to look for, None where nothing is left of it."""
    words = " ".join(words[:WORDS_CHARS].split())
    for marks in (False, True):  # who looks for marks alone finds them
        if parts := folded(words, marks=marks).split():
            return Needle(words, re.compile(r"\s+".join(map(re.escape, parts))), marks)
    return None


class HitPlace(StrEnum):
    """Which part of a turn a hit is in."""

    QUESTION = "question"
    THINKING = "thinking"
    ANSWER = "answer"
    TOOL = "tool"


_PLACES: Final = {
    StepKind.THINKING: HitPlace.THINKING,
    StepKind.TEXT: HitPlace.ANSWER,
    StepKind.CALL: HitPlace.TOOL,
}


@dataclass(frozen=True, slots=True)
class Hit:
    """One place in a chat: turn `turn` from 0, and the hit's `number` in that part of it, from 0.

    `part`: how far into the text it is, from 0 to 1. `nth`: which section of its kind it is in.
    """

    turn: int
    place: HitPlace
    number: int
    part: float = 0.0
    nth: int = 0


def find_in(turns: Sequence[Turn], wanted: Needle, most: int = MOST) -> list[Hit]:
    """Return the hits in these turns, in their order: at most `most`."""
    hits: list[Hit] = []
    for index, turn in enumerate(turns):
        counts: Counter[tuple[HitPlace, int]] = Counter()
        for place, nth, text in texts_of(turn):
            compared = folded(text, marks=wanted.marks)
            for found in wanted.pattern.finditer(compared):
                number, part = counts[place, nth], found.start() / len(compared)
                hits.append(Hit(index, place, number, part, nth))
                counts[place, nth] += 1
                if len(hits) >= most:
                    return hits
    return hits


def texts_of(turn: Turn) -> Iterator[tuple[HitPlace, int, str]]:
    """Yield the texts of a turn in the order in which they are shown, with their `nth`."""
    yield HitPlace.QUESTION, 0, turn.text
    for section in sections_of(list(turn.steps)):
        place = _PLACES[section.kind]
        if section.steps:
            yield place, section.nth, section.text
        for use in section.uses:
            yield place, section.nth, f"{use.call.name} {use.call.text}"
            if use.result is not None:
                yield place, section.nth, use.result.text


def snippet(text: str, wanted: Needle, before: int = 24, after: int = 90) -> str:
    """Return a piece of a text around its first hit, on one line; empty where it has none."""
    span = next(wanted.spans(text), None)
    if span is None:
        return ""
    begin, end = max(0, span[0] - before), span[1] + after
    words = " ".join(text[begin:end].split())
    return f"{'…' if begin else ''}{words}{'…' if end < len(text) else ''}"
