r"""The files that a message mentions: `@notes.txt`, `@"with blanks.txt"`, `@report.pdf#2-4`. Pure.

A mention begins a word. What it may mean is listed, the most literal reading first: whether there
is such a file decides, and without one it stays text, as an address of a mail or a name is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

MOST: Final = 32  # mentions of one message
AS_TEXT: Final = "t"  # behind the pages of a PDF
LOOKED_AT: Final = 1000  # signs of a text: they take some milliseconds
PATH_CHARS: Final = 4096  # Linux's own limit
_BEFORE: Final = r"(?:(?<=[\s(\[{<'\"])|^)"
_QUOTED: Final = r'"((?:[^"\\\n]|\\.)*)"(#[0-9,\-]+t?)?'
_MENTION: Final = re.compile(rf'{_BEFORE}@(?:{_QUOTED}|([^\s"@][^\s"]*))', re.MULTILINE)
# What is being typed up to the cursor: as above, the quotes not closed yet.
_TYPED: Final = re.compile(rf'{_BEFORE}@(?:"((?:[^"\\\n]|\\.)*)|([^\s"@][^\s"]*))$')
_PART: Final = re.compile(r"(.+)#([0-9]+(?:-[0-9]*)?(?:,[0-9]+(?:-[0-9]*)?)*t?)", re.DOTALL)
_RANGE: Final = re.compile(r"([0-9]{1,9})(-([0-9]{1,9})?)?")
_ENDS: Final = ".,;:!?)]}>'"
_PLAIN: Final = re.compile(r"[^\s\"@\\][^\s\"\\]*")


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that a mention may mean: a path, and which pages or lines of it (`2-4,7`).

    Pages of a PDF are pictures, and with a `t` behind them text.
    """

    path: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention. `raw`: as it is typed; `name`: without the sign and the quotes."""

    raw: str
    name: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class TypedPath:
    """A mention that is being typed: its path so far, and how many characters it has (`@"no`)."""

    path: str
    length: int


def mentions(text: str) -> list[Mention]:
    """Return what may be mentions, each once, in order."""
    found: dict[str, Mention] = {}
    for match in islice(_MENTION.finditer(text), LOOKED_AT):
        quoted, part, bare = match.groups()
        if bare is not None:
            mention = Mention(match[0], bare.rstrip(_ENDS) or bare, tuple(_readings(bare)))
        else:
            path = _unescape(quoted)
            literal = Reading(path, (part or "").removeprefix("#"))
            mention = Mention(match[0], f"{path}{part or ''}", (literal,) if path else ())
        if mention.readings and len(mention.name) <= PATH_CHARS:
            found.setdefault(mention.name, mention)
        if len(found) == MOST:
            break
    return list(found.values())


def _readings(bare: str) -> Iterator[Reading]:
    shorter = bare.rstrip(_ENDS)
    for text in dict.fromkeys((bare, shorter)):
        if text:
            yield Reading(text)
    for text in dict.fromkeys((bare, shorter)):
        if part := _PART.fullmatch(text):
            yield Reading(part[1], part[2])


def typed_path(before: str) -> TypedPath | None:
    """Return the mention that ends where the cursor is. `before`: its line, up to there."""
    match = _TYPED.search(before)
    if match is None:
        return None
    quoted, bare = match.groups()
    path = bare if bare is not None else _unescape(quoted)
    return TypedPath(path, len(match[0])) if path and len(path) <= PATH_CHARS else None


def mention_of(name: str) -> str:
    """Return how a path, or a path with a part of it, is mentioned."""
    if _PLAIN.fullmatch(name) and name.rstrip(_ENDS) == name:
        return f"@{name}"
    path, part = name, ""
    if found := _PART.fullmatch(name):
        path, part = found[1], f"#{found[2]}"
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'@"{escaped}"{part}'


def may_be_mentioned(name: str) -> bool:
    """Return whether a name can be typed: on one line, and without half characters."""
    return name.isprintable()


def ranges(part: str) -> list[tuple[int, int]]:
    """Return the first and last number of each range of a part, from 1; the last 0 for the end."""
    found = []
    for each in part.removesuffix(AS_TEXT).split(","):
        if match := _RANGE.fullmatch(each):
            first = max(1, int(match[1]))
            found.append((first, int(match[3] or 0) if match[2] else first))
    return found


def _unescape(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text)
