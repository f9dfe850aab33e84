"""No word goes to an engine that it does not bear, wherever a body has it."""

import json

import pytest
from hypothesis import given, strategies

from runner.chat.long_word import holds_longer_run, longest_run
from runner.gateway.bodies import refuse_long_words
from runner.gateway.calls import Asked
from runner.gateway.pictures.find import find
from runner.gateway.refusal import Refusal
from runner.gateway.routes import find as route_of

WORD = "x" * 41


def refuse(data, limit, pictures=()):
    route = route_of("POST", "/v1/chat/completions")
    refuse_long_words(Asked(route, data, json.loads(data), route.path), pictures, limit)


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
        refuse(data, 40)
    refuse(data, 0)
    refuse(data, 100)


def test_words_within_the_limit_pass():
    refuse(json.dumps({"prompt": "x" * 40 + " " + "word " * 100}).encode(), 40)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_picture_is_no_word_but_a_text_that_looks_like_one_is(hidden):
    """Black pixels are "AAAA..." in base64: a BMP of 1,200 x 800 has 3.8 million of them."""
    url = "data:image/bmp;base64," + "A" * 100
    part = {"type": "image_url", "image_url": {"url": url}}
    document: dict[str, object] = {"messages": [{"role": "user", "content": [part]}]}
    if hidden:
        document["tools"] = [{"function": {"description": "".join(list(url))}}]
    asked = Asked(route_of("POST", "/v1/chat/completions"), b"x" * 1000, document, "")
    pictures = [place.text for place in find(asked.document)[0]]
    if not hidden:
        refuse_long_words(asked, pictures, 40)
        pictures = []
    with pytest.raises(Refusal):
        refuse_long_words(asked, pictures, 40)


def test_a_deep_body_does_not_end_the_gateway():
    refuse(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", 40)
