"""Ollama's answers out of the engine's, however its bytes are cut."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.gateway.ollama import answers
from runner.gateway.ollama.answers import Answer, Shape, Translated

BEGAN = 1_800_000_000.0
TIMINGS = {"cache_n": 13, "prompt_n": 5, "prompt_ms": 20.0, "predicted_n": 4, "predicted_ms": 80.0}


def made(shape: Shape = "message", *, stream: bool = True, thinking: bool = True) -> Translated:
    return Translated(Answer(shape, "step", stream, thinking, BEGAN), lambda: BEGAN + 0.25)


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def call(index: int, name: str | None, arguments: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name:
        entry |= {"id": f"id{index}", "type": "function"}
        entry["function"]["name"] = name
    return entry


def end(reason: str = "stop") -> bytes:
    usage = {"prompt_tokens": 18, "completion_tokens": 4}
    return (
        sse(delta(reason) | {"timings": TIMINGS}, {"choices": [], "usage": usage})
        + b"data: [DONE]\n\n"
    )


def lines(translated: Translated, *pieces: bytes) -> list[dict[str, Any]]:
    data = b"".join([*(translated.feed(each) for each in pieces), translated.close()])
    return [json.loads(line) for line in data.decode().splitlines()]


SAID = sse(
    delta(role="assistant", content=None),
    delta(reasoning_content="I think "),
    delta(reasoning_content="é😀"),
    delta(content="Hello\u2028\u2029\x85"),
    delta(tool_calls=[call(0, "zoom", '{"x": ')]),
    delta(tool_calls=[call(0, None, "1}")]),
    delta(tool_calls=[call(1, "zoom", "{}")]),
) + end("tool_calls")


def test_what_is_thought_said_and_called() -> None:
    found = lines(made(), SAID)
    assert [each["done"] for each in found] == [False] * (len(found) - 1) + [True]
    messages = [each["message"] for each in found]
    assert "".join(m.get("thinking", "") for m in messages) == "I think é😀"
    assert "".join(m["content"] for m in messages) == "Hello\u2028\u2029\x85"
    calls = [each for m in messages for each in m.get("tool_calls", ())]
    assert [(c["id"], c["function"]) for c in calls] == [
        ("id0", {"index": 0, "name": "zoom", "arguments": {"x": 1}}),
        ("id1", {"index": 1, "name": "zoom", "arguments": {}}),
    ]


def test_the_last_line_says_why_and_how_long() -> None:
    last = lines(made(), sse(delta(content="a")), end("length"))[-1]
    assert last == {
        "model": "step",
        "created_at": "2027-01-15T08:00:00.250000Z",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "length",
        "total_duration": 250_000_000,
        "load_duration": 150_000_000,
        "prompt_eval_count": 18,
        "prompt_eval_duration": 20_000_000,
        "eval_count": 4,
        "eval_duration": 80_000_000,
    }


def test_tokens_from_the_timings_where_there_is_no_usage() -> None:
    last = lines(made(), sse(delta("stop") | {"timings": TIMINGS}))[-1]
    assert (last["prompt_eval_count"], last["eval_count"]) == (18, 4)


@given(st.lists(st.integers(0, len(SAID)), max_size=40))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SAID)]
    pieces = [SAID[a:b] for a, b in pairwise(edges)]
    assert lines(made(), *pieces) == lines(made(), SAID)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_whatever_arrives_each_line_is_json_and_the_last_one_ends_it(pieces: list[bytes]) -> None:
    found = lines(made(), *pieces)
    assert found
    assert "error" in found[-1] or found[-1]["done"]
    assert all("error" not in each for each in found[:-1])


def whole(**message: Any) -> Iterator[bytes]:
    document = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 18, "completion_tokens": 4},
        "timings": TIMINGS,
    }
    data = json.dumps(document, indent=1).encode()
    return (data[i : i + 7] for i in range(0, len(data), 7))


def test_without_a_stream_there_is_one_object() -> None:
    message = {
        "content": "Hello",
        "reasoning_content": "hm",
        "tool_calls": [call(0, "zoom", '{"x": 1}')],
    }
    translated = made(stream=False)
    (found,) = lines(translated, *whole(**message))
    assert translated.content_type == "application/json"
    assert found["message"]["content"] == "Hello"
    assert found["message"]["thinking"] == "hm"
    assert found["message"]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert found["done"]
    assert found["eval_count"] == 4


def test_generate_has_the_text_beside_the_thinking() -> None:
    (found,) = lines(made("response", stream=False), *whole(content="Hi", reasoning_content="hm"))
    assert (found["response"], found["thinking"]) == ("Hi", "hm")
    text = sse({"choices": [{"text": "raw", "finish_reason": None}]})
    assert lines(made("response"), text, end())[0]["response"] == "raw"


def test_thinking_that_nobody_wants_is_left_out() -> None:
    found = lines(made(thinking=False), SAID)
    assert not any("thinking" in each["message"] for each in found)


def test_something_is_sent_while_nothing_is_to_be_said() -> None:
    clock = iter(range(100))
    translated = Translated(Answer("message", "m", True, False, 0), lambda: float(next(clock)))
    thought = sse(*[delta(reasoning_content="hm")] * 20)
    assert translated.feed(thought).count(b'"content":""') >= 2


def test_a_call_that_was_cut_off_is_left_out() -> None:
    cut = sse(delta(tool_calls=[call(0, "zoom", '{"x": ')]))
    found = lines(made(), cut, end("length"))
    assert found[-1]["done_reason"] == "length"
    assert not any("tool_calls" in each["message"] for each in found)
    assert "error" in lines(made(), cut, end("tool_calls"))[-1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (sse({"error": {"code": 500, "message": "Out of memory."}}), "Out of memory."),
        (sse(delta(content="a")), "before it was whole"),
        (b"", "before it was whole"),
        (b"data: {]\n\n", "cannot be read"),
        (b'data: {"choices": [{"delta": {"content": 3}}]}\n\n', "cannot be read"),
    ],
)
def test_an_answer_that_breaks_ends_with_an_error_line(data: bytes, words: str) -> None:
    found = lines(made(), data, b"data: {}\n\n")
    assert words in found[-1]["error"]
    assert list(found[-1]) == ["error"]


def test_an_event_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST_BYTES", 1000)
    assert "error" in lines(made(), b"data: " + b"x" * 2000)[-1]
    pieces = sse(*[delta(tool_calls=[call(0, "zoom", "x" * 100)])] * 20)
    assert "error" in lines(made(), pieces)[-1]


def test_a_load_says_so() -> None:
    answer = Answer("message", "m", False, True, BEGAN)
    translated = Translated(answer, lambda: BEGAN, loaded=True)
    (found,) = lines(translated, b'{"status": "ok"}')
    assert found["done_reason"] == "load"
    assert found["message"] == {"role": "assistant", "content": ""}
