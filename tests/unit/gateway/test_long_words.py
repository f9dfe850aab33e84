"""No word goes to an engine that it does not bear, wherever a body has it."""

import json

import pytest
from hypothesis import given, strategies

from runner.chat.long_word import holds_longer_run, longest_run
from runner.gateway.bodies import refuse_long_words
from runner.gateway.refusal import Refusal

WORD = "x" * 41


@given(strategies.text("ab1 .好\n", max_size=60), strategies.integers(1, 20))
def test_the_quick_way_finds_what_the_thorough_one_does(text, limit):
    assert holds_longer_run(text, limit) == (longest_run(text) > limit)


@pytest.mark.parametrize(
    "document",
    [
        {"prompt": WORD},
        {"content": WORD},
        {"system": [{"type": "text", "text": "x" * 30}, {"type": "text", "text": "x" * 30}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": f"a {WORD}"}]}]},
        {"tools": [{"function": {"description": "a. " + "。" * 41}}]},
        {"tools": [{"input_schema": {"properties": {WORD: {}}}}]},
        {"input": [{"type": "function_call_output", "output": "1" + WORD}]},
    ],
)
def test_a_word_beyond_the_limit_is_refused_wherever_it_is(document):
    data = json.dumps(document, ensure_ascii=False).encode()
    with pytest.raises(Refusal, match="more than 40 characters"):
        refuse_long_words(data, 40)
    refuse_long_words(data, 0)
    refuse_long_words(data, 100)


def test_words_within_the_limit_pass():
    refuse_long_words(json.dumps({"prompt": "x" * 40 + " " + "word " * 100}).encode(), 40)


def test_a_short_body_is_not_read():
    refuse_long_words(b"no JSON", 40)


def test_a_deep_body_does_not_end_the_gateway():
    refuse_long_words(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", 40)
