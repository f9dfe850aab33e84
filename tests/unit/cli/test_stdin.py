"""Text that is piped in, and the prompt of -p."""

import io
import sys

import pytest

from runner.cli import stdin


@pytest.mark.parametrize(
    ("piped", "prompt"), [(b" a document\n", "a document\n\nWhat?"), (b" \n", "What?")]
)
def test_a_document_comes_before_the_question(
    monkeypatch: pytest.MonkeyPatch, piped: bytes, prompt: str
) -> None:
    """So another question about it begins with what was read already."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(stdin, "_piped", lambda: piped)
    assert stdin.read_prompt("What?") == prompt
