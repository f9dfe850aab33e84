"""The fenced code blocks of a Markdown text. Pure."""

from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt

_MARKS: Final = ("```", "~~~")
_parser: Final = MarkdownIt("commonmark")


@dataclass(frozen=True, slots=True)
class FencedCode:
    """A code block: its language as written (may be empty), and its text without the fence."""

    language: str
    text: str


def fenced_code(text: str) -> list[FencedCode]:
    """Return the code blocks of a text in order, also those in lists and quotes."""
    if not any(mark in text for mark in _MARKS):
        return []
    return [
        FencedCode(token.info.partition(" ")[0].strip(), token.content.removesuffix("\n"))
        for token in _parser.parse(text)
        if token.type == "fence"
    ]
