"""What the gateway takes for the same prompt the engine takes for the same tokens.

And what both say of it: what was cached, why a prompt was read again.
"""

import itertools
import json
import random
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from runner.gateway import bodies, routes
from runner.gateway.prompts.reading import prompt_of
from runner.kv.prompt import Prompt, characters_of, common
from tests.engine.conftest import Served

pytestmark = pytest.mark.engine

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
HEADER = "x-anthropic-billing-header: cc_version=2.1.197.{}; cc_entrypoint=cli; cch={};"
YOU = "".join(f"Rule {number}: write short and true sentences.\n" for number in range(60))
RAIN = "It rains in Paris. " * 20
WANTED = {"city": "Paris", "days": 2}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def text(words: str, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "text": words}


def ask(served: Served, path: str, document: dict[str, Any]) -> tuple[int, int, dict[str, str]]:
    """Return the tokens of a prompt, those of them that were cached, and the gateway's headers."""
    reply = httpx2.post(served.url + path, json=document, timeout=120)
    assert reply.status_code == 200, reply.text
    usage = reply.json()["usage"]
    headers = {k: v for k, v in reply.headers.items() if k.startswith("x-steprun")}
    if path == MESSAGES:
        cached = usage["cache_read_input_tokens"]
        return usage["input_tokens"] + cached, cached, headers
    name = "prompt" if path == CHAT else "input"
    return (
        usage[f"{name}_tokens"],
        usage[f"{name}_tokens_details"]["cached_tokens"],
        headers,
    )


def prompt(path: str, document: dict[str, Any]) -> Prompt:
    route = routes.find("POST", path)
    found = prompt_of(bodies.read(route, json.dumps(document).encode(), bodies.Terms(sees=True)))
    assert found is not None
    return found


def test_one_conversation_is_read_once_for_three_apis(served: Served) -> None:
    call = {"name": "look", "arguments": json.dumps(WANTED)}
    thought = text("I look.", "reasoning_text")
    result = {"type": "tool_result", "tool_use_id": "9", "content": RAIN}
    asked = {
        CHAT: {
            "messages": [
                {"role": "system", "content": YOU},
                {"role": "user", "content": [text("How is the weather?")]},
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "I look.",
                    "tool_calls": [{"id": "1", "type": "function", "function": call}],
                },
                {"role": "tool", "tool_call_id": "1", "content": RAIN},
            ],
            "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
            "reasoning_effort": "low",
            "max_tokens": 2,
        },
        MESSAGES: {
            "system": [text(HEADER.format("84c", "a5145")), text(YOU)],
            "messages": [
                {"role": "user", "content": "How is the weather?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "I look.", "signature": ""},
                        {"type": "tool_use", "id": "9", "name": "look", "input": WANTED},
                    ],
                },
                {"role": "user", "content": [result]},
            ],
            "tools": [{"name": "look", "input_schema": SCHEMA}],
            "output_config": {"effort": "low"},
            "max_tokens": 2,
        },
        RESPONSES: {
            "instructions": YOU,
            "input": [
                {"role": "user", "content": "How is the weather?"},
                {"type": "reasoning", "summary": [], "content": [thought]},
                {"type": "function_call", "call_id": "2", **call},
                {"type": "function_call_output", "call_id": "2", "output": RAIN},
            ],
            "tools": [{"type": "function", "name": "look", "parameters": SCHEMA}],
            "reasoning": {"effort": "low"},
            "max_output_tokens": 16,
        },
    }  # fmt: skip
    assert len({prompt(path, document).chain() for path, document in asked.items()}) == 1
    totals = set()
    for number, (path, document) in enumerate(asked.items()):
        total, cached, _ = ask(served, path, document)
        totals.add(total)
        assert not number or cached > total - 20, path
    assert len(totals) == 1


TEXTS = ("a", "b", "a b", "a\nb", "<think>\nc\n</think>\na", "")


def conversation(dice: random.Random) -> dict[str, Any]:
    """Return a conversation of few words, so that many have much in common."""
    messages: list[dict[str, Any]] = []
    for at in range(dice.randint(1, 5)):
        roles = ("user", "assistant", "tool", "system") if at else ("user", "system", "developer")
        said = [text(dice.choice(TEXTS)) for _ in range(dice.randint(1, 2))]
        content: Any = dice.choice((said, said[0]["text"], said[0]["text"]))
        message = {"role": dice.choice(roles), "content": content}
        if message["role"] == "assistant":
            message |= dice.choice(({}, {"reasoning_content": dice.choice(TEXTS)}))
            given = dice.choice(({}, {"x": 1}, {"x": "1"}, {"x": [1], "y": "a"}))
            call = {"name": dice.choice("fg"), "arguments": json.dumps(given)}
            calls = [{"id": str(at), "type": "function", "function": call}]
            message |= dice.choice(({}, {"tool_calls": calls}))
        messages.append(message)
    messages.append({"role": "user", "content": "a"})
    tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
    return {
        "messages": messages,
        "tools": dice.choice(([], tools[:1], tools)),
        **dice.choice(({}, {"reasoning_effort": "low"}, {"reasoning_effort": "high"})),
    }


def test_what_is_equal_for_the_gateway_is_equal_for_the_engine(served: Served) -> None:
    dice = random.Random(37)
    found = []
    with httpx2.Client(base_url=served.url, timeout=60) as http:
        for _ in range(200):
            document = conversation(dice)
            reply = http.post("/apply-template", json=document)
            assert reply.status_code == 200, (document, reply.text)
            found.append((prompt(CHAT, document), reply.json()["prompt"], document))
    equal = 0
    for (one, first, asked), (other, second, wanted) in itertools.combinations(found, 2):
        pairs = enumerate(zip(first, second, strict=False))
        shared = next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))
        assert characters_of(one, common(one, other)) <= shared, (asked, wanted)
        if one.chain() == other.chain():  # an empty system prompt may be equal to none, besides
            assert first == second, (asked, wanted)
            equal += 1
    assert equal > 10


def test_the_header_of_claude_code_costs_no_cache(served: Served) -> None:
    you = text(f"You are a Claude agent.\n{YOU}")
    document: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    for version, check in (("123", "00000"), ("8df", "a5145")):
        document["system"] = [text(HEADER.format(version, check)), you]
        total, cached, headers = ask(served, MESSAGES, document)
        assert headers["x-steprun-ignored"] == "x-anthropic-billing-header"
    assert cached > total - 20


def test_why_a_prompt_is_read_again_is_said_before_and_after(served: Served) -> None:
    document: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "You know it all."},
            {"role": "user", "content": f"{YOU}\nWhat is the first rule?"},
        ],
        "max_tokens": 2,
    }
    ask(served, CHAT, document)
    document["tools"] = [{"type": "function", "function": {"name": "get_weather"}}]
    total, cached, headers = ask(served, CHAT, document)
    why = "tools changed: get_weather was added"
    assert headers["x-steprun-reread"] == why
    assert float(headers["x-steprun-read-rate"]) > 0
    # What is before the question is read ahead of it, and the engine counts that as cached.
    cached = max(0, cached - int(headers["x-steprun-ahead"]))
    assert total - cached > 512
    line = last_line(served)
    assert line["reread_because"] == why
    assert (line["prompt_tokens"], line["cached_tokens"]) == (total, cached)
    assert line["saved_s"] == pytest.approx(cached / float(headers["x-steprun-read-rate"]), abs=1)


def last_line(served: Served) -> dict[str, Any]:
    (path,) = Path(served.home).rglob("requests-*.jsonl")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lines = path.read_text().splitlines()
        if lines and (found := json.loads(lines[-1])).get("reread_because"):
            assert isinstance(found, dict)
            return found
        time.sleep(0.05)
    pytest.fail(f"no line says why: {lines[-3:]}")
