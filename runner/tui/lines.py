"""The source of an answer in lines that are bounded, so that no step of its layout is not. Pure."""

import re
from dataclasses import dataclass

TAB = 4
_BETWEEN_WORDS = re.compile(r"[^\W\d_] (?=[^\W\d_])")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is laid out at a time.

    Part of what an answer looks like: a text that grows is cut where the finished one is.

    `line` and `piece` in characters, of a source line and of a paragraph; `window` in lines of
    code that are coloured together; `rows` of a table that decide its columns' widths. What may be
    finished is looked for where there are `tail` characters.
    """

    line: int = 4000
    piece: int = 3000
    window: int = 32
    rows: int = 24
    tail: int = 400


LIMITS = Limits()


def bounded(text: str, limits: Limits = LIMITS) -> list[str]:
    """Return the lines of a text, tabs expanded, a longer one in several."""
    lines: list[str] = []
    for line in text.split("\n"):
        parts, rest = cut_line(line, limits)
        lines += [*parts, rest.expandtabs(TAB)]
    return lines


def cut_line(line: str, limits: Limits = LIMITS) -> tuple[list[str], str]:
    """Return the lines that are made of one that is too long, tabs expanded, and what is left.

    It is cut best before a word, where a new line means no more than a blank does. Only what
    stands before a cut decides about it: the line may still grow.
    """
    parts: list[str] = []
    most = limits.line
    while len(line) > most:
        blanks = [found.end() for found in _BETWEEN_WORDS.finditer(line, 0, most)]
        at = blanks[-1] if blanks and blanks[-1] > most // 2 else most
        parts.append(line[:at].expandtabs(TAB).rstrip(" "))
        line = line[at:]
    return parts, line
