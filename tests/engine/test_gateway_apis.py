"""What the gateway adds to three APIs, with the packages that clients use, before tiny Step."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from tests.engine.conftest import Served

pytestmark = pytest.mark.engine

HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
COUNT = {
    "type": "object",
    "properties": {"n": {"type": "boolean"}},
    "required": ["n"],
}
NAMES = ("look", "count")
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "description": "é", "parameters": COUNT}}
    for name in NAMES
]
THEIRS = [{"name": name, "description": "é", "input_schema": COUNT} for name in NAMES]


@pytest.fixture(scope="module")
def openai_client(served: Served) -> Iterator[Any]:
    import openai

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def anthropic_client(served: Served) -> Iterator[Any]:
    import anthropic

    with anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def plain_client(served: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.url, timeout=60) as client:
        yield client


def test_a_named_tool_is_called_and_nothing_is_read_again(openai_client: Any) -> None:
    ask = openai_client.chat.completions.create
    plain = ask(model="m", messages=HI, tools=TOOLS, max_tokens=1)
    choice = {"type": "function", "function": {"name": "count"}}
    reply = ask(model="m", messages=HI, tools=TOOLS, tool_choice=choice, max_tokens=600)
    assert reply.usage.prompt_tokens == plain.usage.prompt_tokens
    calls = reply.choices[0].message.tool_calls
    assert {call.function.name for call in calls} == {"count"}
    assert isinstance(json.loads(calls[0].function.arguments)["n"], bool)


def test_the_prompt_is_the_same_whatever_tool_is_named(plain_client: httpx2.Client) -> None:
    def prompt(**more: Any) -> str:
        body = {"messages": HI, "tools": TOOLS, **more}
        return str(plain_client.post("/apply-template", json=body).json()["prompt"])

    choice = {"type": "function", "function": {"name": "count"}}
    assert prompt(tool_choice=choice) == prompt()


def test_messages_name_a_tool_too_and_count_it_alike(anthropic_client: Any) -> None:
    asked = {"model": "m", "messages": HI, "tools": THEIRS}
    choices = [{"type": kind} for kind in ("auto", "any", "none")]
    choices.append({"type": "tool", "name": "count"})
    counted = {
        anthropic_client.messages.count_tokens(**asked, tool_choice=choice).input_tokens
        for choice in choices
    }
    assert len(counted) == 1
    message = anthropic_client.messages.create(**asked, tool_choice=choices[-1], max_tokens=600)
    assert {block.name for block in message.content if block.type == "tool_use"} == {"count"}


def test_an_answer_of_responses_follows_its_schema(openai_client: Any) -> None:
    form = {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}
    reply = openai_client.responses.create(
        model="m", input="Hi", text={"format": form}, reasoning={"effort": "minimal"}
    )
    assert set(json.loads(reply.output_text)) == {"ok"}


def test_words_for_what_is_not_stored(openai_client: Any) -> None:
    import openai

    with pytest.raises(openai.BadRequestError, match="whole conversation in 'input'"):
        openai_client.responses.create(model="m", input="Hi", previous_response_id="resp_1")
    with pytest.raises(openai.NotFoundError, match="Nothing is stored"):
        openai_client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError, match="Nothing is stored"):
        openai_client.responses.cancel("resp_1")


def test_input_tokens_of_responses_are_counted(openai_client: Any) -> None:
    assert openai_client.responses.input_tokens.count(model="m", input="Hi").input_tokens > 0


def test_models_are_retrieved(openai_client: Any, anthropic_client: Any) -> None:
    import openai

    (model,) = openai_client.models.list().data
    assert openai_client.models.retrieve(model.id).id == model.id
    assert anthropic_client.models.retrieve(model.id).type == "model"
    with pytest.raises(openai.NotFoundError, match=model.id):
        openai_client.models.retrieve("gpt-5")


def test_a_full_context_is_what_each_client_looks_for(
    openai_client: Any, anthropic_client: Any
) -> None:
    import anthropic
    import openai

    long = [{"role": "user", "content": "word " * 17_000}]
    with pytest.raises(openai.BadRequestError) as ours:
        openai_client.chat.completions.create(model="m", messages=long)
    assert ours.value.code == "context_length_exceeded"
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ m"):
        anthropic_client.messages.create(model="m", messages=long, max_tokens=1)


def test_a_malformed_schema_is_the_clients_fault(openai_client: Any) -> None:
    import openai

    wrong = {"type": "function", "function": {"name": "f", "parameters": {"type": "alien"}}}
    with pytest.raises(openai.BadRequestError, match="alien"):
        openai_client.chat.completions.create(model="m", messages=HI, tools=[wrong])


def test_a_call_that_was_cut_off_does_not_end_the_conversation(openai_client: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"n": tr'}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "No JSON."},
    ]
    openai_client.chat.completions.create(model="m", messages=messages, max_tokens=1)


ASSISTANT = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "Hm",
    "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ],
}
# Valid bodies of each API, with something of everything; the tokens are counted, none written.
VALID: dict[str, dict[str, Any]] = {
    "/v1/chat/completions/input_tokens": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be"}]},
            *HI,
            ASSISTANT,
            {"role": "tool", "tool_call_id": "1", "content": "x"},
        ],
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "stop": ["x"],
        "reasoning_effort": "low",
        "parallel_tool_calls": True,
        "chat_template_kwargs": {},
    },
    "/v1/responses/input_tokens": {
        "instructions": "Be",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {
                "type": "reasoning",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm"}],
            },
            {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x"},
            {"type": "message", "role": "assistant", "content": "Hi"},
            *HI,
        ],
        "tools": [{"type": "function", **tool["function"]} for tool in TOOLS],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low", "summary": "auto"},
    },
    "/v1/messages/count_tokens": {
        "system": [{"type": "text", "text": "Be"}],
        "messages": [
            *HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": ""},
                    {"type": "tool_use", "id": "1", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "1",
                        "content": [{"type": "text", "text": "x"}],
                    }
                ],
            },
        ],
        "tools": THEIRS,
        "tool_choice": {"type": "tool", "name": "look"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "low"},
    },
    "/tokenize": {"content": ["x", 1], "add_special": True, "with_pieces": True},
    "/detokenize": {"tokens": [1, 2]},
}
VALID["/apply-template"] = VALID["/v1/chat/completions/input_tokens"]
JSON = {"Content-Type": "application/json"}
ANYTHING: strategies.SearchStrategy[Any] = strategies.sampled_from(
    [None, True, 0, -1, 1e9, 10**30, "", "x", "\x00", "{", [], [[]], [None], ["x"], {}, {"a": 1}]
)


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = found.items() if isinstance(found, dict) else ()
    for key, value in enumerate(found) if isinstance(found, list) else pairs:
        yield from places(value, (*path, key))


def mutated(data: strategies.DataObject, body: dict[str, Any]) -> dict[str, Any]:
    """Return a body in which one to three places hold something else, or nothing."""
    body = copy.deepcopy(body)
    for _ in range(data.draw(strategies.integers(1, 3))):
        *way, last = data.draw(strategies.sampled_from(list(places(body))[1:] or [("a",)]))
        holder: Any = body
        for step in way:
            holder = holder[step]
        if data.draw(strategies.booleans()) and isinstance(holder, dict):
            holder.pop(last, None)
        else:
            holder[last] = data.draw(ANYTHING)
    return body


@pytest.mark.parametrize("path", VALID)
def test_valid_bodies_are_counted(plain_client: httpx2.Client, path: str) -> None:
    reply = plain_client.post(path, json=VALID[path])
    assert reply.status_code == 200, reply.text


@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=strategies.data())
def test_no_body_is_a_fault_of_the_server(
    plain_client: httpx2.Client, data: strategies.DataObject
) -> None:
    path = data.draw(strategies.sampled_from(sorted(VALID)))
    body = mutated(data, VALID[path])
    reply = plain_client.post(path, content=json.dumps(body), headers=JSON)
    assert reply.status_code in {200, 400}, f"{path} {body}: {reply.text}"
    if reply.status_code == 400:
        document = reply.json()
        assert document["error"]["message"]
        assert ("type" in document) is path.startswith("/v1/messages")
