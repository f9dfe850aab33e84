"""A short title of a chat, from what the user asked. Pure.

No model is asked. Behind the gateway that would cost no prompt its place in the cache (measured
with tiny Step: of 2,017 tokens of the next question, 1,990 were cached after a title, 1,992 without
one), but it would cost seconds of the machine for each chat, thinking included, and on a server of
somebody else with one slot the whole prompt. And one looks for a chat by what one has asked.
"""

import re
from collections.abc import Iterable
from typing import Final

from runner.base.text import clean_name

TITLE_CHARS: Final = 72
LOOKED_AT: Final = 20_000  # characters of a message: more than a question has before its document
PASTED: Final = 1_000  # characters: a longer message holds a document, and asks at one end of it
_ASKED: Final = 300  # characters: the question at the end of a document
_TELLING: Final = 12  # cells of a text that says what a chat is about: two Chinese words have eight

_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_MARKS: Final = re.compile(r"^[\s#>*+\-_`|=~\"'\N{BULLET}]+")
_BLANK: Final = re.compile(r"\n\s*\n")
_SENTENCE: Final = re.compile(
    r".{12,}?(?:[?!.:;](?=\s)|[\N{IDEOGRAPHIC FULL STOP}\N{FULLWIDTH QUESTION MARK}"
    r"\N{FULLWIDTH EXCLAMATION MARK}])"
)


def title_of_texts(texts: Iterable[str]) -> str:
    """Return the title of a chat with these questions: of the first that says something.

    `hi` is none, where anything better follows.
    """
    first = ""
    for text in texts:
        title = title_of_text(text)
        if _width(title) >= _TELLING:
            return title
        first = first or title
    return first


def title_of_text(text: str) -> str:
    """Return the first sentence of a question, without code and marks; empty where it has none."""
    text = text[:LOOKED_AT] if len(text) <= PASTED else _question_in(text)
    prose = _FENCE.sub("\n", text)
    paragraphs = (*_BLANK.split(prose), *text.split("\n"))
    lines = (_MARKS.sub("", " ".join(each.split())) for each in paragraphs)
    line = next((each for each in lines if any(map(str.isalnum, each))), "")
    sentence = _SENTENCE.match(line)
    line = (sentence[0] if sentence else line).rstrip(".:;\N{IDEOGRAPHIC FULL STOP}")
    line = clean_name(line, len(line) + 1) if line else ""
    return line if len(line) <= TITLE_CHARS else f"{_cut(line)}…"


def _question_in(text: str) -> str:
    """Return the question of a message that holds a document: its last paragraph, if it is short.

    `steprun chat -p` puts what is piped in before the question.
    """
    last = text[-_ASKED:].rstrip().rpartition("\n\n")
    asks = last[1] and last[2].strip() and not last[2].lstrip().startswith(("```", "~~~"))
    return last[2] if asks and not _looks_like_code(last[2]) else text[:LOOKED_AT]


def _looks_like_code(text: str) -> bool:
    return sum(char in "{}[]();=<>/\\|" for char in text) * 10 > len(text)


def _cut(line: str) -> str:
    """Return the beginning of a line, up to the end of a word."""
    cut = line[: TITLE_CHARS - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > TITLE_CHARS // 2 else cut).rstrip(" ,;:")


def _width(text: str) -> int:
    return sum(2 if ord(char) > 0x1100 else 1 for char in text)
