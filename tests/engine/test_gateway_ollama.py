"""Ollama's API on tiny Step, as clients that speak only that use it."""

import base64
import io
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.engine.conftest import Served

pytestmark = pytest.mark.engine

SHORT = {"num_predict": 24, "temperature": 0}


def ask(served: Served, path: str, body: Any = None, method: str = "") -> Any:
    """Return the answer's JSON: a list of lines where it is a stream."""
    request = urllib.request.Request(
        f"{served.url}/api/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method or ("GET" if body is None else "POST"),
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        text = reply.read().decode()
        if reply.headers["Content-Type"] == "application/x-ndjson":
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text)


def refused(served: Served, path: str, body: Any) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(served, path, body)
    with caught.value as reply:
        return reply.code, str(json.loads(reply.read())["error"])


def chat(served: Served, content: str = "Hello", **options: Any) -> Any:
    message = {"role": "user", "content": content, **options.pop("message", {})}
    body = {"model": "any", "messages": [message], "options": SHORT, **options}
    return ask(served, "chat", body)


def test_a_chat_streams_thinking_and_ends_with_its_account(served: Served) -> None:
    *lines, last = chat(served)
    assert "".join(line["message"].get("thinking", "") for line in lines)
    assert last["done"]
    assert last["done_reason"] in {"stop", "length"}  # random weights end when they like
    assert 0 < last["eval_count"] <= SHORT["num_predict"]
    assert last["prompt_eval_count"] > 0
    spent = last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    assert 0 < spent <= last["total_duration"]


def test_without_a_stream_it_says_the_same(served: Served) -> None:
    lines = chat(served)
    whole = chat(served, stream=False)
    for field in ("content", "thinking"):
        parts = "".join(line["message"].get(field, "") for line in lines)
        assert whole["message"].get(field, "") == parts
    assert whole["eval_count"] == lines[-1]["eval_count"]


def test_thinking_is_hidden_from_who_wants_none(served: Served) -> None:
    hidden = chat(served, think=False, stream=False)
    assert "thinking" not in hidden["message"]
    low, high = (chat(served, think=level, stream=False) for level in ("low", "high"))
    assert low["prompt_eval_count"] == hidden["prompt_eval_count"]
    assert high["prompt_eval_count"] != low["prompt_eval_count"]


def test_a_picture_is_read(served: Served) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (200, 200), "red").save(out, "PNG")
    picture = base64.b64encode(out.getvalue()).decode()
    plain = chat(served, stream=False)["prompt_eval_count"]
    seen = chat(served, stream=False, message={"images": [picture]})["prompt_eval_count"]
    assert seen > plain + 100
    body = {"model": "any", "prompt": "Hello", "images": [picture], "stream": False}
    assert ask(served, "generate", {**body, "options": SHORT})["prompt_eval_count"] == seen


def test_a_schema_holds(served: Served) -> None:
    body = {"model": "any", "prompt": "Hi", "raw": True, "format": {"enum": ["red"]}}
    answer = ask(served, "generate", {**body, "stream": False, "options": SHORT})
    assert json.loads(answer["response"]) == "red"


def test_tools_and_their_results_are_taken(served: Served) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    call = {"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
    messages = [
        {"role": "user", "content": "The weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "rain"},
    ]
    body = {"model": "any", "messages": messages, "tools": [tool], "options": SHORT}
    assert ask(served, "chat", body)[-1]["done"]


def test_a_raw_prompt_and_an_empty_one(served: Served) -> None:
    lines = ask(served, "generate", {"prompt": "Hi", "raw": True, "options": SHORT})
    assert "".join(line["response"] for line in lines)
    assert ask(served, "generate", {"model": "any"})[-1]["done_reason"] == "load"


def test_the_model_says_what_it_is(served: Served) -> None:
    (listed,) = ask(served, "tags")["models"]
    (running,) = ask(served, "ps")["models"]
    shown = ask(served, "show", {"model": listed["name"]})
    assert listed["name"] == running["name"] == "tiny-step"
    assert running["context_length"] == 16384
    assert shown["model_info"]["step35.context_length"] == 16384
    assert set(shown["capabilities"]) == {"completion", "vision", "tools", "thinking"}


def test_what_is_wrong_is_said_in_words(served: Served) -> None:
    long = {"messages": [{"role": "user", "content": "one two " * 20_000}]}
    status, words = refused(served, "chat", long)
    assert status == 400
    assert "context" in words
    assert refused(served, "chat", {**long, "options": {"seed": "x"}})[0] == 400
    assert refused(served, "embed", {"input": "Hi"})[0] == 501
