"""What prompts consist of, in every API: the same for the same conversation."""

import base64
import json
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.chat.images.tokens import image_tokens
from runner.gateway import bodies, routes
from runner.gateway.calls import Asked
from runner.gateway.pictures.find import find
from runner.gateway.prompts.reading import (
    MOST_CHARACTERS,
    MOST_PARTS,
    TOKEN_CHARACTERS,
    prompt_of,
)
from runner.gateway.refusal import Refusal
from runner.kv.differ import why
from runner.kv.prompt import Prompt, characters_of, common

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
RECORDED = Path(__file__).parents[3] / "data" / "gateway" / "requests"
HI = {"role": "user", "content": "Hi"}
# The head of a PNG of 1,024 x 64 pixels.
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\4\0\0\0\0\x40" + bytes(20)).decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def asked(path: str, document: dict[str, Any]) -> Asked:
    found = bodies.read(
        routes.find("POST", path), json.dumps(document).encode(), bodies.Terms(sees=True)
    )
    find(found.document)
    return found


def prompt(path: str, document: dict[str, Any]) -> Prompt:
    found = prompt_of(asked(path, document))
    assert found is not None
    return found


def named(path: str, document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(part.kind, part.name) for part in prompt(path, document).parts]


def same(one: Prompt, other: Prompt) -> bool:
    return one.chain() == other.chain()


def chat(*messages: Any, **more: Any) -> Prompt:
    return prompt(CHAT, {"messages": [*messages], **more})


@pytest.mark.parametrize("before", ["", "x" * 5000])
def test_a_picture_that_is_set_aside_is_the_same_picture(before: str) -> None:
    def ask(picture: bytes) -> Prompt:
        url = "data:image/png;base64," + base64.b64encode(picture).decode()
        content = [
            {"type": "text", "text": before},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        return chat({"role": "user", "content": content})

    large = bytes(range(256)) * 100  # more than what is parsed with its body
    assert ask(large).parts[-1].blocks == ask(large).parts[-1].blocks
    assert ask(large).parts[-1].blocks != ask(large[:-1] + b"?").parts[-1].blocks


def test_a_conversation_has_the_same_parts_in_every_api() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    call = {"name": "look", "arguments": '{"city": "Paris", "days": 2}'}
    openai = prompt(
        CHAT,
        {
            "messages": [
                {"role": "system", "content": "You help."},
                {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]},
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "reasoning_content": "Hm.",
                    "tool_calls": [{"id": "1", "type": "function", "function": call}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "Rain"},
            ],
            "tools": [
                {"type": "function", "function": {"name": "look", "parameters": SCHEMA}},
            ],
            "reasoning_effort": "high",
        },
    )
    anthropic = prompt(
        MESSAGES,
        {
            "system": [{"type": "text", "text": "You help."}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": ""},
                        {"type": "text", "text": "Let me see."},
                        {
                            "type": "tool_use",
                            "id": "9",
                            "name": "look",
                            "input": {"city": "Paris", "days": 2},
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "9",
                            "content": [{"type": "text", "text": "Rain"}],
                        }
                    ],
                },
            ],
            "tools": [{"name": "look", "input_schema": SCHEMA}],
            "output_config": {"effort": "high"},
            "max_tokens": 9,
        },
    )
    responses = prompt(
        RESPONSES,
        {
            "instructions": "You help.",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
                    ],
                },
                {
                    "type": "reasoning",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "Hm."}],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Let me see."}],
                },
                {"type": "function_call", "call_id": "2", **call},
                {"type": "function_call_output", "call_id": "2", "output": "Rain"},
            ],
            "tools": [{"type": "function", "name": "look", "parameters": SCHEMA}],
            "reasoning": {"effort": "high"},
        },
    )
    ollama = prompt(
        "/api/chat",
        {
            "messages": [
                {"role": "system", "content": "You help."},
                {"role": "user", "content": "What is it?"},
            ],
            "think": "high",
        },
    )
    assert [(part.kind, part.name) for part in openai.parts] == [
        ("settings", "reasoning effort"),
        ("system", "system prompt"),
        ("tools", "look"),
        ("user", "message 1"),
        ("picture", "picture in message 1"),
        ("thinking", "message 2"),
        ("assistant", "message 2"),
        ("tool", "message 3"),
    ]
    assert same(openai, anthropic)
    assert same(openai, responses)
    assert ollama.parts[:2] == openai.parts[:2]
    assert ollama.parts[2] == openai.parts[3]


def test_a_text_is_the_same_as_one_block_of_it() -> None:
    assert same(chat(HI), chat({"role": "user", "content": [{"type": "text", "text": "Hi"}]}))


def test_a_picture_counts_by_its_size() -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    found = chat({"role": "user", "content": [part]})
    assert [each.kind for each in found.parts] == ["picture"]
    assert found.characters == image_tokens(1024, 64) * TOKEN_CHARACTERS


def test_several_pictures_of_a_message_are_numbered() -> None:
    url = {"url": f"data:image/png;base64,{PNG}"}
    part = {"type": "image_url", "image_url": url}
    text = {"type": "text", "text": "Which?"}
    found = chat({"role": "user", "content": [part, text, part]})
    assert [each.name for each in found.parts] == [
        "picture 1 in message 1",
        "message 1",
        "picture 2 in message 1",
    ]


def test_thinking_is_in_the_prompt_only_after_the_last_question() -> None:
    thought = {"role": "assistant", "content": "Yes", "reasoning_content": "Hm."}
    plain = {"role": "assistant", "content": "Yes"}
    assert same(chat(HI, thought, HI), chat(HI, plain, HI))
    assert not same(chat(HI, thought), chat(HI, plain))
    tagged = {"role": "assistant", "content": "<think>\nHm.\n</think>\nYes"}
    assert same(chat(HI, tagged, HI), chat(HI, plain, HI))
    assert same(chat(HI, tagged), chat(HI, thought))


def test_what_the_model_does_not_see_makes_no_difference() -> None:
    one = chat(HI, temperature=0.1, user="a", stream=True, seed=1)
    assert same(one, chat({**HI, "name": "Ann"}, max_tokens=7))


def test_the_tools_of_the_prompt_are_all_that_were_sent() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
    choice = {"type": "function", "function": {"name": "b"}}
    assert same(chat(HI, tools=tools), chat(HI, tools=tools, tool_choice=choice))


def test_a_developer_is_the_system_and_a_later_one_a_message() -> None:
    developer = {"role": "developer", "content": "You help."}
    assert same(chat(developer, HI), chat({**developer, "role": "system"}, HI))
    document = {"messages": [developer, developer, HI]}
    assert named(CHAT, document) == [
        ("system", "system prompt"),
        ("system", "message 1"),
        ("user", "message 2"),
    ]


def test_of_odd_names_of_tools_only_the_number_is_said() -> None:
    tools = [{"type": "function", "function": {"name": "a\x1b[31m b"}}]
    assert named(CHAT, {"messages": [HI], "tools": tools})[0] == ("tools", "number 1")


def test_a_document_before_a_question_is_a_common_beginning() -> None:
    text = "".join(f"Line {number} of the document, with some words.\n" for number in range(400))
    one, other = (chat({"role": "user", "content": f"{text}\n{q}"}) for q in ("Who?", "Where?"))
    assert characters_of(one, common(one, other)) > 0.85 * len(text)
    assert why(one, other) == "message 1 was edited"


@pytest.mark.parametrize(
    ("path", "document", "kinds"),
    [
        ("/v1/completions", {"prompt": "Once"}, ["text"]),
        ("/completion", {"prompt": [1, 2, 3]}, ["text"]),
        ("/completion", {"prompt": {"prompt_string": "<__media__>", "multimodal_data": [PNG]}},
         ["picture", "text"]),
        ("/api/generate", {"prompt": "Once", "raw": True}, ["text"]),
        ("/api/generate", {"prompt": "Once", "system": "You"}, ["system", "user"]),
    ],
)  # fmt: skip
def test_completions_are_prompts_too(path: str, document: dict[str, Any], kinds: list[str]) -> None:
    assert [part.kind for part in prompt(path, document).parts] == kinds


def test_where_there_is_no_prompt_there_is_none() -> None:
    assert prompt_of(asked("/api/chat", {"model": "x"})) is None
    assert prompt_of(asked("/infill", {"input_prefix": "a", "input_suffix": "b"})) is None
    assert prompt_of(asked("/completion", {"prompt": ["a", "b"]})) is None


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_the_requests_of_clients_are_read(path: Path) -> None:
    recorded = json.loads(path.read_text("utf-8"))
    if recorded["method"] != "POST" or "may_be_refused" in recorded:
        return
    route = recorded["path"].partition("?")[0]
    one, other = (prompt(route, deepcopy(recorded["body"])) for _ in range(2))
    assert same(one, other)
    assert {part.kind for part in one.parts} >= {"system", "user"}


WORDS = st.text(st.sampled_from("ab \n<>"), min_size=1, max_size=40)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return messages whose texts all differ, so that a change has one place only."""
    # The last one is a question, and stays: which thinking is in the prompt depends on it.
    count = draw(st.integers(1, 6))
    texts = [f"{number}: {draw(WORDS)}" for number in range(count)]
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]


def _edit(messages: list[dict[str, Any]], at: int) -> None:
    messages[at]["content"] = f"else {at}"


def _insert(messages: list[dict[str, Any]], at: int) -> None:
    messages.insert(at, {"role": messages[at]["role"], "content": f"new {at}"})


def _remove(messages: list[dict[str, Any]], at: int) -> None:
    del messages[at]


CHANGES: dict[str, Callable[[list[dict[str, Any]], int], None]] = {
    "edited": _edit,
    "added": _insert,
    "left out": _remove,
}


@given(conversations(), st.data(), st.sampled_from(sorted(CHANGES)))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_change_is_found_where_it_is(
    messages: list[dict[str, Any]], data: st.DataObject, done: str
) -> None:
    at = data.draw(st.integers(0, len(messages) - 1))
    changed = deepcopy(messages)
    CHANGES[done](changed, at)
    system = {"role": "system", "content": "You help."}
    before, now = (chat(system, *each, HI) for each in (messages, changed))
    assert common(before, now) == 1 + at
    assert why(before, now) == f"message {at + 1} was {done}"


@given(st.sampled_from(["system", "tools", "effort", "kwargs"]), st.data())
@settings(deadline=None)
def test_a_change_before_the_messages_is_named(what: str, data: st.DataObject) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("get_a", "get_b")]
    document: dict[str, Any] = {
        "messages": [{"role": "system", "content": "One\nTwo\nThree\n"}, HI],
        "tools": tools,
        "reasoning_effort": "low",
    }
    changed = deepcopy(document)
    if what == "system":
        line = data.draw(st.integers(1, 3))
        lines = ["One\n", "Two\n", "Three\n"]
        lines[line - 1] = "Else\n"
        changed["messages"][0]["content"] = "".join(lines)
        said, most = (
            f"the system prompt changed at {'its first line' if line == 1 else f'line {line}'}",
            line,
        )
    elif what == "tools":
        at = data.draw(st.integers(0, 1))
        changed["tools"][at]["function"]["description"] = "else"
        said, most = f"tools changed: get_{'ab'[at]} was changed", 4 + at
    elif what == "effort":
        changed["reasoning_effort"] = "high"
        said, most = "reasoning effort changed", 0
    else:
        changed["chat_template_kwargs"] = {"mood": "mild"}
        said, most = "chat_template_kwargs.mood changed", 0
    before, now = prompt(CHAT, document), prompt(CHAT, changed)
    assert why(before, now) == said
    assert common(before, now) <= most


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["type", "role", "content", "text", "name", "arguments", "input", "output", "id", "call_id",
     "tool_calls", "function", "image_url", "url", "source", "data", "thinking", "summary",
     "tool_use_id", "reasoning_content"]
)  # fmt: skip
TYPES = st.sampled_from(
    ["user", "assistant", "system", "tool", "text", "image", "image_url", "tool_use", "tool_result",
     "thinking", "message", "function_call", "function_call_output", "reasoning", "input_text"]
)  # fmt: skip
ODD = st.dictionaries(FIELDS, TYPES | JSON | st.dictionaries(FIELDS, TYPES | JSON), max_size=6)


@given(st.sampled_from([CHAT, RESPONSES, MESSAGES, "/api/chat", "/completion"]), st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_body_that_was_accepted_is_too_odd(path: str, data: st.DataObject) -> None:
    message = ODD | st.builds(lambda odd, role, content: {**odd, "role": role, "content": content},
                              ODD, TYPES, st.lists(ODD, max_size=3) | st.text())  # fmt: skip
    messages = data.draw(st.lists(message, min_size=1, max_size=3))
    document = {
        "messages": messages,
        "input": messages,
        "prompt": data.draw(JSON),
        **data.draw(ODD),
    }
    try:
        found = asked(path, document)
    except (Refusal, ValueError):  # the latter: floats that JSON does not have
        return
    prompt_of(found)


def test_a_body_that_is_too_deep_has_no_prompt() -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    found = asked(CHAT, {"messages": [HI]})
    for _ in range(20_000):
        deep = {"a": deep}
    found.document["chat_template_kwargs"] = {"deep": deep}
    assert prompt_of(found) is None


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "a" * (MOST_CHARACTERS + 1)}],
        [{"role": "user", "content": "a" * 2048}] * (MOST_CHARACTERS // 2048 + 1),
        [{"role": "user", "content": "a"}] * (MOST_PARTS + 1),
    ],
    ids=["a text", "texts", "messages"],
)
def test_a_prompt_that_no_context_holds_is_not_read(messages: list[Any]) -> None:
    assert prompt_of(asked(CHAT, {"messages": messages})) is None


def test_half_characters_are_read_like_others() -> None:
    broken = "a\ud800"
    found = asked(CHAT, {"messages": [HI]})
    found.document = {"messages": [{"role": "user", "content": broken}], "tools": []}
    assert prompt_of(found) is not None


def test_a_prompt_of_60_000_tokens_is_read_at_once() -> None:
    text = "".join(f"Line {number} of a file that an agent has read.\n" for number in range(25))
    turns: list[dict[str, Any]] = [HI]
    for number in range(100):
        call = {"name": "read", "arguments": json.dumps({"path": f"{number}.py", "text": text})}
        turns.append(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": call}],
            }
        )
        turns.append({"role": "tool", "tool_call_id": "1", "content": text})
    found = asked(CHAT, {"messages": turns})
    assert 230_000 < len(json.dumps(turns)) < 300_000
    took = []
    for _ in range(5):
        began = time.process_time()
        prompt_of(found)
        took.append(time.process_time() - began)
    assert min(took) < 0.1  # 20 ms at most where nothing else runs
