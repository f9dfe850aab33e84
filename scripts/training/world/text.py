"""Texts whose deciding words are marked, and names that nobody has heard.

A model that knows only the wording still scores 98 % of the tokens, so the tokens that carry the
answer are marked where a text is written: ``mark("colour", "red")`` puts it between two characters
of Unicode's private-use area, which `split` takes out again.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

KINDS = ("", "colour", "shape", "number", "town", "word", "place")
"""What a deciding token is about; 0 stands for a token that decides nothing."""

_FIRST, _CLOSE = 0xE000, "\ue100"
_MARKED = re.compile("([\ue000-\ue0ff])([^\ue100]*)\ue100")


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a text decide; `kind` is a place in `KINDS`."""

    start: int
    end: int
    kind: int


def mark(kind: str, text: object) -> str:
    """Mark a text as deciding."""
    return f"{chr(_FIRST + KINDS.index(kind))}{text}{_CLOSE}"


def plain(text: str) -> str:
    """Return a text without its marks."""
    return _MARKED.sub(r"\2", text)


def split(text: str) -> tuple[str, tuple[Span, ...]]:
    """Return a text without its marks, and where they were."""
    spans: list[Span] = []
    removed = 0
    for found in _MARKED.finditer(text):
        start = found.start() - removed
        removed += 2
        spans.append(Span(start, found.end() - removed, ord(found[1]) - _FIRST))
    return plain(text), tuple(spans)


_STARTS = (
    *("Ba", "Be", "Bo", "Da", "De", "Do", "Fa", "Fe", "Ga", "Go", "Ka", "Ke", "Ko", "La", "Le"),
    *("Lu", "Ma", "Me", "Mo", "Na", "Ne", "No", "Pa", "Po", "Ra", "Ro", "Sa", "So", "Ta", "To"),
)
_MIDDLES = ("l", "r", "n", "v", "m", "s", "t", "d", "k", "b")
_ENDINGS = (
    *("adan", "alen", "ane", "aro", "eda", "elis", "enor", "era", "esto", "ida", "ilan", "imo"),
    *("inta", "iro", "oban", "ola", "onis", "ora", "osen", "ulan", "umi", "una", "uro", "usta"),
)

NAMES = len(_STARTS) * len(_MIDDLES) * len(_ENDINGS)


def invent(dice: random.Random, *, held_out: bool) -> str:
    """Invent a name of three syllables, one of `NAMES`.

    Every eighth is held out: only the evaluation uses it, so that it can only be copied.
    """
    while True:
        name = dice.choice(_STARTS) + dice.choice(_MIDDLES) + dice.choice(_ENDINGS)
        if (zlib.crc32(name.encode()) % 8 == 0) == held_out:
            return name
