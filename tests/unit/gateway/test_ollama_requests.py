"""What Ollama's clients ask, as the engine is asked it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.gateway import bodies, routes
from runner.gateway.calls import Asked, call_of
from runner.gateway.refusal import Refusal


def asked(path: str, **body: Any) -> Asked:
    return bodies.read(
        routes.find("POST", f"/api/{path}"), json.dumps(body).encode(), bodies.Terms()
    )


def sent(path: str, **body: Any) -> dict[str, Any]:
    call = call_of(asked(path, **body))
    assert call.path == "/v1/chat/completions"
    document = json.loads(b"".join(call.body))
    assert isinstance(document, dict)
    return document


def user(content: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **more}]}


def test_a_chat_streams_unless_it_says_otherwise() -> None:
    streamed = sent("chat", model="m", **user())
    assert streamed["stream"] is True
    assert streamed["stream_options"] == {"include_usage": True}
    assert streamed["messages"] == [{"role": "user", "content": "Hi"}]
    assert sent("chat", stream=False, **user())["stream"] is False


def test_options_have_the_names_of_the_engine() -> None:
    given = {
        "num_predict": 64.0,
        "temperature": 0,
        "top_k": 5,
        "seed": 7,
        "stop": "END",
        "repeat_penalty": 1.1,
        "num_ctx": 1_000_000,
        "num_gpu": 99,
        "unknown": {},
        "top_p": None,
    }
    document = sent("chat", options=given, **user())
    expected = {
        "max_tokens": 64,
        "temperature": 0,
        "top_k": 5,
        "seed": 7,
        "stop": ["END"],
        "repeat_penalty": 1.1,
    }
    assert {key: document[key] for key in expected} == expected
    assert set(document) == {*expected, *sent("chat", **user())}


@pytest.mark.parametrize("given", [{"num_predict": -1}, {"num_predict": -2}, {"seed": -1}])
def test_no_limit_and_no_seed_are_not_sent(given: dict[str, int]) -> None:
    assert sent("chat", options=given, **user()) == sent("chat", **user())


@pytest.mark.parametrize(
    ("think", "effort"),
    [(None, None), (True, None), (False, "low"), ("low", "low"), ("max", "high")],
)
def test_think_is_an_effort(think: object, effort: str | None) -> None:
    assert sent("chat", think=think, **user()).get("reasoning_effort") == effort


def test_pictures_become_data_urls() -> None:
    content = sent("chat", **user(images=["iVBORw0KGgo=", "/9j/4AAQ", "data:image/x;base64,AA"]))
    urls = [part["image_url"]["url"] for part in content["messages"][0]["content"][:-1]]
    assert urls == [
        "data:image/png;base64,iVBORw0KGgo=",
        "data:image/jpeg;base64,/9j/4AAQ",
        "data:image/x;base64,AA",
    ]
    assert content["messages"][0]["content"][-1] == {"type": "text", "text": "Hi"}


def test_a_format_is_json_or_a_schema() -> None:
    assert sent("chat", format="json", **user())["response_format"] == {"type": "json_object"}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    made = sent("generate", prompt="Hi", format=schema)["response_format"]
    assert made["json_schema"]["schema"] == schema
    assert "response_format" not in sent("chat", format="", **user())


def test_calls_and_their_results_are_paired() -> None:
    history = [
        {"role": "user", "content": "Weather in Oslo and Rome?"},
        {
            "role": "assistant",
            "thinking": "two calls",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Oslo"}}},
                {"function": {"name": "time", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_name": "time", "content": "12:00"},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
        {"role": "tool", "content": "nobody asked"},
    ]
    _, assistant, *results = sent("chat", messages=history)["messages"]
    assert assistant["reasoning_content"] == "two calls"
    first, second = assistant["tool_calls"]
    assert json.loads(first["function"]["arguments"]) == {"city": "Oslo"}
    assert [each["tool_call_id"] for each in results[:2]] == [second["id"], first["id"]]
    assert results[2]["tool_call_id"]


def test_generate_is_a_chat_of_one_message() -> None:
    document = sent("generate", prompt="Hi", system="Be brief.", images=["iVBORw0KGgo="])
    system, message = document["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]


def test_a_raw_prompt_goes_to_completions_as_it_is() -> None:
    call = call_of(asked("generate", prompt="<think>", raw=True, format="json"))
    document = json.loads(b"".join(call.body))
    assert call.path == "/v1/completions"
    assert document["prompt"] == "<think>"
    assert document["json_schema"] == {"type": "object"}


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": None, "keep_alive": 0}])
def test_nothing_to_say_loads_the_model(body: dict[str, Any]) -> None:
    for path in ("chat", "generate"):
        call = call_of(asked(path, model="m", **body))
        assert (call.method, call.path, *call.body) == ("GET", "/health", b"")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("chat", {"messages": [{"content": "no role"}]}, "messages[0]"),
        ("chat", {"messages": "Hi"}, "messages"),
        ("chat", user(images="iVBOR"), "images"),
        ("chat", user(images=["https://example.org/a.png"]), "base64"),
        ("chat", {**user(), "tools": {}}, "tools"),
        ("chat", {**user(), "format": "xml"}, "format"),
        ("chat", {**user(), "think": "a lot"}, "think"),
        ("chat", {**user(), "stream": "yes"}, "stream"),
        ("chat", {**user(), "options": []}, "options"),
        ("chat", {**user(), "options": {"num_predict": "many"}}, "options.num_predict"),
        ("chat", {**user(), "options": {"stop": [1]}}, "options.stop"),
        ("chat", {**user(), "options": {"seed": 1e300}}, "options.seed"),
        ("chat", {**user(), "options": {"temperature": True}}, "options.temperature"),
        ("generate", {"prompt": "a", "suffix": "b"}, "between"),
        ("generate", {"prompt": "a", "template": "b"}, "template"),
        ("generate", {"prompt": "a", "raw": True, "system": "b"}, "raw"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(
    path: str, body: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refusal) as caught:
        asked(path, **body)
    assert caught.value.status == 400
    assert words in caught.value.message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "function", "name"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    ["model", "messages", "prompt", "options", "tools", "format", "think", "raw", "images"]
)


@given(st.sampled_from(["chat", "generate"]), st.dictionaries(fields, values, max_size=5))
def test_no_body_is_answered_with_a_trace(path: str, body: dict[str, Any]) -> None:
    try:
        call_of(asked(path, **body))
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017 - or it is asked: both are right
