"""The code blocks of a Markdown text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.chat.fences import FencedCode, fenced_code


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("no code", []),
        ("```python\nx = 1\n```", [FencedCode("python", "x = 1")]),
        ("~~~\na\n\nb\n~~~\n\n```\nc\n```", [FencedCode("", "a\n\nb"), FencedCode("", "c")]),
        ("- item\n  ```sh run me\n  ls\n  ```", [FencedCode("sh", "ls")]),
        ("> ```\n> quoted\n> ```", [FencedCode("", "quoted")]),
        ("```\nnot closed", [FencedCode("", "not closed")]),
        ("````\n```\ninner\n```\n````", [FencedCode("", "```\ninner\n```")]),
        ("in `a ``` b` line", []),
    ],
)
def test_the_blocks_are_found(text, blocks):
    assert fenced_code(text) == blocks


@given(st.text(alphabet="`~ab\n >-", max_size=100))
def test_any_text_is_borne(text):
    fenced_code(text)


def test_code_is_copied_as_it_was_written():
    blocks = fenced_code("- ```make\n  all:\n  \tcc\n  ```\n\n~~~\nb\n~~~")
    assert [block.text for block in blocks] == ["all:\n\tcc", "b"]
