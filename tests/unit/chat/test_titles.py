"""The title of a chat, from what was asked."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.chat.sessions.titles import TITLE_CHARS, title_of_text, title_of_texts


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What is a heron?", "What is a heron?"),
        ("What is a heron? Answer in French.", "What is a heron?"),
        ("Explain quicksort.\nUse Python.", "Explain quicksort"),
        ("one line that\nis broken", "one line that is broken"),
        ("  ## Fix this:\n```py\nx = 1\n```", "Fix this"),
        ("```py\nprint(1)\n```\nWhat does this print?", "What does this print?"),
        ("```py\nprint(1)", "py"),
        ("今天的天气很好。我要出门。", "今天的天气很好。我要出门"),
        ("请详细解释一下量子计算机的工作原理。然后举例。", "请详细解释一下量子计算机的工作原理"),
        ("version 3.7 of it is out", "version 3.7 of it is out"),
        ("hi", "hi"),
        ("???", ""),
        ("", ""),
        ("log line 1\n" * 500 + "\n\nWhy does it fail?", "Why does it fail?"),
        (f"Sum this up: it is long.\n{'x' * 3000}", "Sum this up: it is long"),
        (f"{'word ' * 40}", f"{'word ' * 14}".rstrip() + "…"),
        ("x" * 100, "x" * 71 + "…"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
    ],
)
def test_a_title_is_the_first_sentence(text, title):
    assert title_of_text(text) == title


def test_the_first_question_that_says_something_is_the_title():
    assert title_of_texts(["hi", "ok", "How do herons hunt?"]) == "How do herons hunt?"
    assert title_of_texts(["hi", "ok"]) == "hi"
    assert title_of_texts([]) == ""


@given(st.text(max_size=3000))
def test_any_text_has_a_title_of_one_short_line(text):
    title = title_of_text(text)
    assert len(title) <= TITLE_CHARS
    assert title == " ".join(title.split())


def test_long_texts_take_no_time():
    begin = time.thread_time()
    for text in (
        "```" * 400_000,
        "a" * 1_000_000,
        "- " * 500_000,
        "\n" * 1_000_000,
        "```\n" * 200_000,
    ):
        title_of_text(text)
    assert time.thread_time() - begin < 1.0
