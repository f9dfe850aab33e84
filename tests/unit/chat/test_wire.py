"""The dialects: recorded chunks in, events out; and requests."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.errors import Refused, SteprunError, UsageError
from runner.chat.dialect import OPENAI, Offer, recognised
from runner.chat.events import (
    Failed,
    Finished,
    PromptProgress,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)
from runner.chat.refusals import server_error
from runner.chat.wire import (
    Message,
    Options,
    Picture,
    parse_chunk,
    request_body,
    simpler_body,
)

# Recorded from xllamacpp 11549 (llama-server), shortened.
LLAMA = [
    '{"choices":[],"prompt_progress":{"total":34,"cache":2,"processed":20,"time_ms":3}}',
    '{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}',
    '{"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"Red"}}]}',
    '{"choices":[{"finish_reason":"stop","index":0,"delta":{}}]}',
    '{"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":34,'
    '"prompt_tokens_details":{"cached_tokens":2}},"timings":{"cache_n":2,"prompt_n":32,'
    '"prompt_per_second":190.5,"predicted_n":2,"predicted_per_second":61.5,'
    '"draft_n":6,"draft_n_accepted":4}}',
    "[DONE]",
]


def events(*chunks: str) -> list[object]:
    return [event for chunk in chunks for event in parse_chunk(chunk)]


def test_llama_server_stream() -> None:
    assert events(*LLAMA) == [
        PromptProgress(done=20, total=34, cached=2, read_s=0.003),
        Reasoning("Hm"),
        Text("Red"),
        Finished("stop"),
        Usage(34, 2, 2, 190.5, 61.5, 6, 4),
    ]


def test_timings_alone_give_the_usage() -> None:
    """As llama-server ends a stream for which no usage was requested."""
    timings = {"cache_n": 30, "prompt_n": 4, "predicted_n": 2, "predicted_per_second": 61.5}
    last = {"choices": [{"finish_reason": "stop", "delta": {}}], "timings": timings}
    assert events(json.dumps(last)) == [
        Usage(prompt_tokens=34, cached_tokens=30, completion_tokens=2, decode_tps=61.5),
        Finished("stop"),
    ]


def test_vllm_calls_thinking_reasoning() -> None:
    assert events('{"choices":[{"delta":{"reasoning":"Hm"}}]}') == [Reasoning("Hm")]


def test_tool_calls_arrive_in_pieces() -> None:
    first = {"index": 1, "id": "a", "function": {"name": "get_weather", "arguments": "{"}}
    chunk = json.dumps({"choices": [{"delta": {"tool_calls": [first]}}]})
    assert events(chunk) == [ToolCall(1, "a", "get_weather", "{")]


def test_an_error_in_mid_stream() -> None:
    (failed,) = events('{"error":{"code":500,"message":"failed to decode","type":"server_error"}}')
    assert isinstance(failed, Failed)
    assert failed.error.why == "failed to decode"


@pytest.mark.parametrize("data", ["<html>", "[1]", '"x"', "{", "[" * 100_000])
def test_what_is_no_chunk_is_named(data: str) -> None:
    with pytest.raises(SteprunError, match="cannot be understood"):
        list(parse_chunk(data))


def test_a_null_error_is_none() -> None:
    assert events('{"error":null,"choices":[{"delta":{"content":"a"}}]}') == [Text("a")]


def test_an_error_that_is_only_text_keeps_its_text() -> None:
    (failed,) = events('{"error":"out of \\u001b[31mpaper"}')
    assert isinstance(failed, Failed)
    assert failed.error.why == "out of [31mpaper", "and loses what a terminal would obey"


def test_numbers_beyond_reason_are_none() -> None:
    huge = "9" * 400
    (usage,) = events(
        '{"usage":{"prompt_tokens":' + huge + '},"timings":{"prompt_per_second":' + huge + "}}"
    )
    assert usage == Usage()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DELTA_KEYS = ("content", "reasoning_content", "reasoning", "tool_calls")
KEYS = ("choices", "usage", "timings", "prompt_progress", "error")


def figures_of(usage: Usage) -> list[float]:
    figures = (field.name for field in dataclasses.fields(usage) if field.type is not str)
    return [getattr(usage, name) for name in figures]


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_whatever_a_chunk_holds_its_events_are_typed(chunk: dict[str, object]) -> None:
    """An error ends the chunk; figures are numbers that can be calculated with."""
    told = events(json.dumps(chunk))
    if chunk.get("error"):
        assert [type(event) for event in told] == [Failed]
        return
    for event in told:
        match event:
            case PromptProgress(done, total, cached):
                assert chunk["prompt_progress"]
                assert all(type(n) is int and abs(n) < 1 << 53 for n in (done, total, cached))
            case Usage():
                assert chunk.get("usage") or chunk.get("timings")
                assert all(abs(n) < 1 << 54 for n in figures_of(event))
            case other:
                pytest.fail(f"{other!r} of no choice at all")


@given(json_values | st.dictionaries(st.sampled_from(DELTA_KEYS), json_values))
def test_whatever_a_delta_holds_the_answer_ends(delta: object) -> None:
    """What is not understood adds no text, and the reason it ended is never lost."""
    *told, last = events(json.dumps({"choices": [{"delta": delta, "finish_reason": "stop"}]}))
    assert last == Finished("stop")
    if not isinstance(delta, dict) or not set(DELTA_KEYS) & delta.keys():
        assert told == []
    (call,) = events(json.dumps({"choices": [{"delta": {"tool_calls": [delta]}}]}))
    assert isinstance(call, ToolCall)
    assert all(isinstance(part, str) for part in (call.id, call.name, call.arguments))


def test_a_request_with_pictures() -> None:
    picture = Picture("a.png", "image/png", b"PNG", 10, 10, 171)
    body = request_body([Message("user", "What?", (picture,))], Options(effort="low", max_tokens=5))
    (message,) = body["messages"]
    assert message["content"][0]["image_url"]["url"] == "data:image/png;base64,UE5H"
    assert message["content"][1] == {"type": "text", "text": "What?"}
    assert body["reasoning_effort"] == "low"
    assert body["chat_template_kwargs"] == {"reasoning_effort": "low"}
    assert body["max_tokens"] == 5
    assert "temperature" not in body


def test_thinking_goes_back_only_to_a_server_whose_template_reads_it() -> None:
    said = [Message("assistant", "Red.", reasoning="Hm")]
    plain = {"role": "assistant", "content": "Red."}
    assert request_body(said, Options(dialect=OPENAI))["messages"] == [plain]
    assert request_body(said, Options())["messages"] == [plain | {"reasoning_content": "Hm"}]
    vllm = recognised({}, [Offer("step", "vllm")])
    assert request_body(said, Options(dialect=vllm))["messages"] == [plain | {"reasoning": "Hm"}]


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser'),
        (500, "tools param requires --jinja flag"),
        (404, "No endpoints found that support tool use."),
        (422, "body -> tools: Extra inputs are not permitted"),
    ],
)
def test_tools_that_a_server_refuses_are_left_out(status, complaint) -> None:
    reply = {"error": {"message": complaint}}
    assert simpler_body({"messages": [], "tools": [1]}, status, reply) == {"messages": []}
    assert simpler_body({"messages": []}, status, reply) is None
    assert simpler_body({"messages": [], "tools": [1]}, 401, reply) is None
    assert simpler_body({"messages": [], "tools": [1]}, status, {"error": "too long"}) is None


@pytest.mark.parametrize(
    ("status", "message", "kind", "error"),
    [
        (
            400,
            "the request exceeds the available context size",
            "exceed_context_size_error",
            Refused,
        ),
        (401, "Invalid API Key", "authentication_error", Refused),
        (500, "image input is not supported - hint: provide the mmproj", "server_error", Refused),
        (400, "'messages' is required", "invalid_request_error", UsageError),
        (500, "boom", "server_error", SteprunError),
    ],
)
def test_refused_requests_in_words(
    status: int, message: str, kind: str, error: type[SteprunError]
) -> None:
    said = server_error(status, {"error": {"message": message, "type": kind}})
    assert type(said) is error
    assert said.why == message
    assert said.next


def test_an_answer_that_a_server_of_ours_has_ended_is_said_without_the_words_for_programs() -> None:
    message = (
        "The answer repeated itself without end: its last 9 tokens. It was ended here. Send it."
    )
    (failed,) = parse_chunk(json.dumps({"error": {"message": message, "code": "repetition"}}))
    assert isinstance(failed, Failed)
    said = failed.error
    assert said.what == "The answer repeated itself without end, and was ended."
    assert said.why == "The answer repeated itself without end: its last 9 tokens."
