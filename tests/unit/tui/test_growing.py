"""Markdown that grows: what is finished stays, and the whole is that of the finished text."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.tui.growing import GrowingMarkdown
from runner.tui.lines import Limits
from runner.tui.render import markdown_lines

# Small ones, so that texts of a few lines are cut.
SMALL = Limits(line=12, piece=9, window=2, rows=2, tail=0)
PIECES = [
    *"#*_`>|-1.[]()!~ \n",
    "\n\n",
    "```\n",
    "~~~py\n",
    "abc ",
    "    ",
    "\n  ",
    "\n    ",
    "|a|b|\n|-|-:|\n",
    "\n|c|",
    "\n- ",
    "\n- a\n  - b",
    "\n1. ",
    "\n10. c",
    "\n> ",
    "é",
    "你",
    "<b>",
    "\n<div>\n",
    "===\n",
    '"""',
]
MARKDOWN = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def plain(rows) -> list[str]:
    return [row.content.plain for row in rows]


def grown(text: str, cuts: list[int], width: int = 20, limits: Limits = SMALL) -> list[str]:
    """Return the rows of a text that came in parts; each part's finished rows stay."""
    growing = GrowingMarkdown(width, limits)
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for begin, end in pairwise(places):
        before = list(growing.finished)
        growing.grow(text[begin:end])
        assert growing.finished[: len(before)] == before
    return plain(growing.finished) + plain(growing.live())


@settings(max_examples=300)
@given(MARKDOWN, st.lists(st.integers(0, 200), max_size=12))
def test_a_text_that_grew_looks_like_the_finished_one(text, cuts):
    whole = [line.plain for line in markdown_lines(text, 20, SMALL)]
    assert grown(text, cuts) == whole


@settings(max_examples=100)
@given(MARKDOWN)
def test_at_any_point_it_looks_like_the_text_so_far(text):
    growing = GrowingMarkdown(20, SMALL)
    for end in range(len(text)):
        growing.grow(text[end])
        so_far = [line.plain for line in markdown_lines(text[: end + 1], 20, SMALL)]
        assert plain(growing.finished) + plain(growing.live()) == so_far


@pytest.mark.parametrize(
    "unit",
    [
        "- item {n} of a list\n",
        "{n}. item\n\n",
        "- a\n  - nested {n}\n" * 2,
        "> - quoted {n}\n",
        "words and words {n}\n",
        "A paragraph, number {n}.\n\n",
        "| {n} | cell |\n",
        "x = {n}\n",
        "word{n} ",
        "<div>{n}\n",
    ],
)
def test_what_is_live_is_bounded(unit):
    begin = {"|": "| a | b |\n|---|---|\n", "x": "```python\n"}.get(unit[0], "")
    growing = GrowingMarkdown(80)
    growing.grow(begin + "".join(unit.format(n=n) for n in range(3000)))
    assert len(growing.live()) < 100
    assert len(growing.finished) > 100


def test_a_long_paragraph_is_not_looked_through_at_each_line(monkeypatch):
    looked: list[int] = []
    growing = GrowingMarkdown(80)
    monkeypatch.setattr(growing, "_finish", lambda: looked.append(1))
    for _ in range(60):
        growing.grow("a line of the same paragraph, fifty characters more\n")
    assert len(looked) <= 60 * 51 // 400
