"""Code in colours, a window of lines at a time, so that a block that grows costs no more for it."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, String, _TokenType
from pygments.util import ClassNotFound
from textual.content import Content, Span
from textual.highlight import HighlightTheme

LONGEST = 8  # windows: a comment or a string that is longer loses its colour
_ONE_LINE = (Comment.Single, Comment.Preproc, Comment.PreprocFile, Comment.Hashbang)


def painted(
    lines: Sequence[str], language: str, window: int
) -> Iterator[tuple[Sequence[Content], bool]]:
    """Yield the lines in colours, by groups, and whether a group stays if more lines follow.

    A group ends where no string and no comment goes on: the next one is read on its own.
    """
    at = 0
    while at < len(lines):
        length = window
        while True:
            group = lines[at : at + length]
            contents, unsafe = _paint(tuple(group), language)
            if len(group) < length:
                yield contents, False
                return
            safe = [line for line in range(length // 2, length) if line not in unsafe]
            if safe or length >= window * LONGEST:
                break
            length *= 2
        cut = safe[-1] if safe else length
        yield contents[:cut], True
        at += cut


@lru_cache(maxsize=32)
def _lexer(language: str) -> Lexer | None:
    """Return what reads a language, None where it has no colours."""
    try:
        lexer: Lexer = get_lexer_by_name(language, stripnl=False, ensurenl=True)
    except ClassNotFound:
        return None
    return None if "text" in lexer.aliases else lexer


@lru_cache(maxsize=64)  # of a text that grows, a group is asked for several times
def _paint(lines: tuple[str, ...], language: str) -> tuple[Sequence[Content], set[int]]:
    """Return the lines in colours, and which of them begin inside a string or a comment."""
    lexer = _lexer(language)
    if lexer is None:
        return [Content(line).stylize_before("$text") for line in lines], set()
    text = "\n".join(lines)
    spans: list[Span] = []
    unsafe: set[int] = set()
    at = line = 0
    for kind, token in lexer.get_tokens(text):
        if style := _style(kind):
            spans.append(Span(at, min(at + len(token), len(text)), style))
        inside = (kind in String or kind in Comment) and kind not in _ONE_LINE
        for _ in range(token.count("\n")):
            line += 1
            if inside:
                unsafe.add(line)
        at += len(token)
    whole = Content(text, spans=spans).stylize_before("$text")
    return whole.split("\n", allow_blank=True) if lines else [], unsafe


@lru_cache(maxsize=512)
def _style(kind: _TokenType | None) -> str:
    while kind is not None:
        if style := HighlightTheme.STYLES.get(kind):
            return style
        kind = kind.parent
    return ""
