"""The fenced code blocks of a Markdown text. Pure."""

from dataclasses import dataclass
from typing import Final

_MARKS: Final = ("```", "~~~")


@dataclass(frozen=True, slots=True)
class FencedCode:
    """A code block: its language as written (may be empty), and its text without the fence."""

    language: str
    text: str


def fenced_code(text: str) -> list[FencedCode]:
    """Return the code blocks of a text in order, also those in lists and quotes."""
    if not any(mark in text for mark in _MARKS):
        return []
    from markdown_it import MarkdownIt  # noqa: PLC0415 - the window is painted without it

    return [
        FencedCode(token.info.partition(" ")[0].strip(), token.content.removesuffix("\n"))
        for token in MarkdownIt("commonmark").parse(text)
        if token.type == "fence"
    ]
