"""What a body asks: malformed ones are refused in words, the rest is completed for the engine."""

import json
from contextlib import suppress
from typing import Any

import pytest

from runner.gateway import bodies, routes
from runner.gateway.bodies.fields import unmet_fields
from runner.gateway.bodies.shapes import SHAPES
from runner.gateway.calls import Asked, call_of
from runner.gateway.refusal import Refusal

HI = [{"role": "user", "content": "Hi"}]
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


def read(path: str, document: Any, **terms: Any) -> Asked:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return bodies.read(routes.find("POST", path), data, bodies.Terms(**terms))


def refused(path: str, document: Any, **terms: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(path, document, **terms)
    assert caught.value.status == 400
    return caught.value


def function(name: str = "look", **more: Any) -> dict[str, Any]:
    return {"name": name, "parameters": {"type": "object", "properties": {}}, **more}


def chat_tool(name: str = "look", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": function(name, **more)}


def called(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": "1", "content": "x"}
    return [*HI, {"role": "assistant", "content": None, "tool_calls": [call]}, result]


@pytest.mark.parametrize(
    ("path", "document", "param"),
    [
        (CHAT, {}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": None}, "messages"),
        (CHAT, {"messages": [{"content": "x"}]}, "messages[0].role"),
        (CHAT, {"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        (CHAT, {"messages": [{"role": "alien", "content": "x"}]}, "messages[0]"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0]",
        ),
        (CHAT, {"messages": HI, "tools": {}}, "tools"),
        (CHAT, {"messages": HI, "tools": [{}]}, "tools[0].type"),
        (CHAT, {"messages": HI, "tools": [{"type": "function"}]}, "tools[0]"),
        (
            CHAT,
            {"messages": HI, "tools": [chat_tool(parameters="x")]},
            "tools[0].function.parameters",
        ),
        (CHAT, {"messages": HI, "stop": [1]}, "stop[0]"),
        (CHAT, {"messages": HI, "stream": "yes"}, "stream"),
        (CHAT, {"messages": HI, "response_format": {"type": "json_schema"}}, "response_format"),
        (CHAT, {"messages": HI, "reasoning_effort": "ultra"}, "reasoning_effort"),
        (CHAT, {"messages": HI, "tool_choice": "required"}, "tool_choice"),
        ("/apply-template", {"messages": [{"content": "x"}]}, "messages[0].role"),
        ("/v1/completions", {}, "prompt"),
        ("/v1/completions", {"prompt": "x", "echo": True}, "echo"),
        ("/v1/completions", {"prompt": "x", "best_of": 2}, "best_of"),
        (RESPONSES, {}, "input"),
        (RESPONSES, {"input": []}, ""),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        (RESPONSES, {"input": "x", "tools": [{"type": "function"}]}, "tools[0]"),
        (RESPONSES, {"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        (RESPONSES, {"input": "x", "background": True}, "background"),
        (MESSAGES, {}, "messages"),
        (MESSAGES, {"messages": [{"content": "x"}]}, "messages[0].role"),
        (MESSAGES, {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        (MESSAGES, {"messages": HI, "tools": [{}]}, "tools[0].name"),
        (MESSAGES, {"messages": HI, "tools": 1}, "tools"),
        (MESSAGES, {"messages": HI, "tool_choice": {"type": "any"}}, "tool_choice"),
        (f"{MESSAGES}/count_tokens", {}, "messages"),
        ("/tokenize", {"content": None}, "content"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
    ],
)
def test_a_malformed_body_is_refused_by_the_name_of_its_field(path, document, param):
    refusal = refused(path, document)
    assert refusal.param == param
    assert refusal.message.endswith((".", "}"))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'{"a": NaN}', b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object_is_refused(data):
    refused(CHAT, data)


def test_unknown_fields_pass_as_the_bytes_that_came():
    data = b'{ "messages": [{"role": "user", "content": "Hi", "mood": 1}], "mirostat": 2 }'
    assert call_of(read(CHAT, data)).body == [data]


def test_what_has_no_effect_is_named():
    found = read(CHAT, {"messages": HI, "store": True, "user": "me", "service_tier": "auto"})
    assert call_of(found).headers == (("x-steprun-ignored", "store, user"),)
    assert call_of(read(CHAT, {"messages": HI, "store": False, "user": None})).headers == ()


def test_the_fields_that_are_not_honoured_belong_to_readers_there_are():
    assert set(unmet_fields()) <= set(SHAPES)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ("", "{}"),
        (None, "{}"),
        ('{"city": "Ber', '{"arguments":"{\\"city\\": \\"Ber"}'),
        ("[1]", '{"arguments":"[1]"}'),
    ],
)
def test_what_a_model_wrote_as_arguments_does_not_end_the_conversation(given, sent):
    message = read(CHAT, {"messages": called(given)}).document["messages"][1]
    assert message["tool_calls"][0]["function"]["arguments"] == sent
    item = {"type": "function_call", "call_id": "1", "name": "f", "arguments": given or ""}
    assert read(RESPONSES, {"input": [item]}).document["input"][0]["arguments"] == sent


def test_null_is_the_same_as_absent():
    message = {"role": "assistant", "content": None, "name": None, "reasoning_content": None}
    document = read(CHAT, {"messages": [*HI, message], "tools": [chat_tool(description=None)]})
    assert document.document["messages"][1] == {"role": "assistant", "content": None}
    assert "description" not in document.document["tools"][0]["function"]


NAMED = [
    (CHAT, {"type": "function", "function": {"name": "look"}}, "required"),
    (RESPONSES, {"type": "function", "name": "look"}, "required"),
    (MESSAGES, {"type": "tool", "name": "look"}, {"type": "tool", "name": "look"}),
    (
        RESPONSES,
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]},
        "auto",
    ),
]


@pytest.mark.parametrize(("path", "choice", "sent"), NAMED)
def test_a_named_tool_is_enforced_and_the_prompt_keeps_them_all(path, choice, sent):
    make = {
        CHAT: chat_tool,
        RESPONSES: lambda name: {"type": "function", **function(name)},
        MESSAGES: lambda name: {"name": name, "input_schema": function()["parameters"]},
    }[path]
    body = {"input": "x"} if path == RESPONSES else {"messages": HI}
    found = read(path, {**body, "tools": [make("look"), make("go")], "tool_choice": choice})
    assert found.document["tools"] == [make("look")]
    assert found.document["tool_choice"] == sent
    shown = function() | {"description": ""}
    assert found.document["chat_template_kwargs"]["tools"] == [
        {"type": "function", "function": shown | {"name": name}} for name in ("look", "go")
    ]
    wrong = json.loads(json.dumps(choice).replace("look", "fly"))
    refusal = refused(path, {**body, "tools": [make("look")], "tool_choice": wrong})
    assert "'fly'" in refusal.message


def test_no_tool_may_be_called_in_messages_and_the_prompt_keeps_them():
    tool = {"name": "look", "description": "See", "input_schema": function()["parameters"]}
    found = read(MESSAGES, {"messages": HI, "tools": [tool], "tool_choice": {"type": "none"}})
    assert found.document["tools"] == []
    assert found.document["chat_template_kwargs"]["tools"] == [chat_tool(description="See")]


def test_a_format_of_responses_is_enforced():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "name": "x", "schema": schema, "strict": True}
    found = read(RESPONSES, {"input": "x", "text": {"format": form, "verbosity": "low"}})
    assert found.document["response_format"] == {
        "type": "json_schema",
        "json_schema": {"schema": schema},
    }
    assert found.ignored == ["text.verbosity"]
    found = read(RESPONSES, {"input": "x", "text": {"format": {"type": "json_object"}}})
    assert found.document["response_format"] == {"type": "json_object"}


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def with_a_form_and_tools(path: str) -> dict[str, Any]:
    if path == CHAT:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        return {"messages": HI, "response_format": form, "tools": [chat_tool()]}
    form = {"type": "json_schema", "name": "x", "schema": SCHEMA}
    return {"input": "x", "text": {"format": form}, "tools": [{"type": "function", **function()}]}


@pytest.mark.parametrize(("path", "field"), [(CHAT, "response_format"), (RESPONSES, "text.format")])
def test_with_tools_a_form_is_told_to_the_model_and_not_enforced(path, field):
    """With the engine's grammar for it the model could call no tool, which agents need."""
    found = read(path, with_a_form_and_tools(path))
    assert found.ignored == [field]
    assert found.document["tools"]
    assert "response_format" not in found.document
    told = found.document["instructions"] if path == RESPONSES else found.document["messages"][0]
    assert '"properties":{"a"' in (told if isinstance(told, str) else told["content"])


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_form_is_enforced_where_no_tool_may_be_called(path):
    found = read(path, {**with_a_form_and_tools(path), "tool_choice": "none"})
    assert found.document["response_format"]["json_schema"]["schema"] == SCHEMA
    assert not found.ignored


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_required_call_leaves_no_answer_for_a_form(path):
    found = read(path, {**with_a_form_and_tools(path), "tool_choice": "required"})
    assert "response_format" not in found.document
    assert not found.ignored


@pytest.mark.parametrize("content", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_a_form_is_told_after_what_the_system_says(content):
    body = with_a_form_and_tools(CHAT)
    body["messages"] = [{"role": "system", "content": content}, *HI]
    sent = read(CHAT, body).document["messages"]
    assert len(sent) == 2
    told = sent[0]["content"]
    joined = told if isinstance(told, str) else "".join(part["text"] for part in told)
    assert joined.startswith("Be brief.\n\nWhen you answer")


@pytest.mark.parametrize(
    ("word", "effort"),
    [("none", "low"), ("minimal", "low"), ("low", "low"), ("high", "high"), ("xhigh", "high")],
)
def test_efforts_are_those_that_the_model_knows(word, effort):
    chat = read(CHAT, {"messages": HI, "reasoning_effort": word})
    assert chat.document["reasoning_effort"] == effort
    responses = read(RESPONSES, {"input": "x", "reasoning": {"effort": word}})
    assert responses.document["reasoning"]["effort"] == effort
    messages = read(MESSAGES, {"messages": HI, "output_config": {"effort": word}})
    assert messages.document["chat_template_kwargs"]["reasoning_effort"] == effort
    for found in (chat, responses, messages):
        assert bool(found.ignored) is (word == "none"), "the model always thinks"


def test_thinking_that_is_disabled_is_short_and_named():
    found = read(MESSAGES, {"messages": HI, "thinking": {"type": "disabled"}})
    assert found.document["chat_template_kwargs"] == {"reasoning_effort": "low"}
    assert found.ignored == ["thinking"]


def test_what_only_another_service_can_read_is_left_out_and_named():
    items = [
        {"role": "user", "content": "x"},
        {"type": "web_search_call", "id": "1", "status": "completed"},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]
    found = read(RESPONSES, {"input": items, "tools": [{"type": "web_search"}]})
    assert found.document["tools"] == []
    part = {"type": "output_text", "text": "No.", "refusal": "No."}
    assert found.document["input"] == [
        {"role": "user", "content": "x", "type": "message"},
        {"role": "assistant", "content": [part], "type": "message"},
    ]
    assert found.ignored == ["input.web_search_call", "input.reasoning", "tools.web_search"]

    content = [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "x"}]
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "f"}]
    body = {"messages": [*HI, {"role": "assistant", "content": content}], "tools": tools}
    found = read(MESSAGES, body)
    assert found.document["messages"][1]["content"] == [{"type": "text", "text": "x"}]
    assert found.document["tools"] == [{"name": "f"}]
    assert found.ignored == ["messages.redacted_thinking", "tools.web_search_20250305"]


def test_more_answers_than_slots_are_refused():
    assert "--parallel" in refused(CHAT, {"messages": HI, "n": 3}, parallel=2).message
    read(CHAT, {"messages": HI, "n": 2}, parallel=2)


def test_a_prompt_is_taken_out_of_its_list():
    assert read("/v1/completions", {"prompt": ["x"]}, sees=True).document["prompt"] == "x"
    refused("/v1/completions", {"prompt": ["x", "y"]}, sees=True)
    read("/v1/completions", {"prompt": ["x", "y"]}, sees=False)


def test_a_number_of_any_size_is_written_as_it_came():
    found = read(CHAT, {"messages": HI, "reasoning_effort": "none", "seed": 10**30})
    assert b"1" + b"0" * 30 in b"".join(call_of(found).body)


@pytest.mark.parametrize("depth", [900, 993, 2000])
def test_a_deep_body_is_passed_or_refused(depth):
    schema = b'{"a":' * depth + b"1" + b"}" * depth
    tools = b'[{"name": "f", "input_schema": ' + schema + b"}]"
    data = b'{"messages": [{"role": "user", "content": "x"}], "tools": ' + tools
    data += b', "tool_choice": {"type": "tool", "name": "f"}}'
    with suppress(Refusal):
        assert call_of(read(MESSAGES, data)).body
