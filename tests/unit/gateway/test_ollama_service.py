"""Ollama's API through the gateway, in front of a fake engine."""

import json
from typing import Any

import aiohttp
import pytest

from runner.gateway.settings import Settings
from tests.fakes.scripted_engine import ScriptedEngine, gateway

SETTINGS = Settings(
    port=0,
    model="step",
    quant="Q4_K",
    arch="step35",
    context=8192,
    embedding=128,
    weights_bytes=1000,
    on_gpu=True,
    sees=True,
)
STREAM = (
    b'data: {"choices": [{"delta": {"content": "Hello"}, "finish_reason": null}]}\n\n'
    b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)


async def ask(
    engine: ScriptedEngine, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, str, str]:
    """Return the status, the kind of content and the body."""
    async with (
        gateway(engine, SETTINGS) as url,
        aiohttp.ClientSession() as http,
        http.request(method, url + path, json=body, headers=headers) as answer,
    ):
        return answer.status, answer.content_type, await answer.text()


async def test_a_chat_is_answered_a_line_at_a_time() -> None:
    with ScriptedEngine(STREAM, content_type="text/event-stream") as engine:
        body = {"model": "any:latest", "messages": [{"role": "user", "content": "Hi"}]}
        status, kind, text = await ask(engine, "POST", "/api/chat", body)
    lines = [json.loads(line) for line in text.splitlines()]
    assert (status, kind) == (200, "application/x-ndjson")
    assert [line["message"]["content"] for line in lines] == ["Hello", ""]
    assert {line["model"] for line in lines} == {"any:latest"}
    assert lines[-1]["done_reason"] == "stop"
    assert engine.asked[0][:2] == ("POST", "/v1/chat/completions")


async def test_what_the_engine_refuses_has_the_shape_of_ollama() -> None:
    refusal = json.dumps({"error": {"code": 400, "message": "The prompt is too long."}}).encode()
    with ScriptedEngine(refusal, 400) as engine:
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        status, _, text = await ask(engine, "POST", "/api/chat", body)
    assert status == 400
    assert json.loads(text) == {"error": "The prompt is too long."}


async def test_a_client_that_takes_gzip_gets_no_compressed_bytes_read_as_text() -> None:
    with ScriptedEngine(STREAM) as engine:
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        header = {"Accept-Encoding": "gzip"}
        status, _, text = await ask(engine, "POST", "/api/chat", body, **header)
        assert engine.accepted == ["identity"]
    assert status == 200
    assert "Hello" in text


async def test_the_model_is_listed_running_and_shown() -> None:
    props = {
        "chat_template": "<think>",
        "chat_template_caps": {"supports_tools": True, "supports_reasoning_effort": False},
    }
    with ScriptedEngine(json.dumps(props).encode()) as engine:
        (listed,) = json.loads((await ask(engine, "GET", "/api/tags"))[2])["models"]
        (running,) = json.loads((await ask(engine, "GET", "/api/ps"))[2])["models"]
        shown = json.loads((await ask(engine, "POST", "/api/show", {"name": "x"}))[2])
        assert engine.asked == [("GET", "/props", None)]
    assert listed["name"] == running["model"] == "step"
    assert listed["details"]["quantization_level"] == "Q4_K"
    assert len(listed["digest"]) == 64
    assert running["size_vram"] == 1000
    assert running["context_length"] == 8192
    assert shown["model_info"]["step35.context_length"] == 8192
    assert shown["capabilities"] == ["completion", "vision", "tools", "thinking"]


async def test_a_load_asks_whether_the_engine_is_there() -> None:
    with ScriptedEngine(b'{"status": "ok"}') as engine:
        _, _, text = await ask(engine, "POST", "/api/generate", {"model": "m"})
        assert engine.asked == [("GET", "/health", None)]
    assert json.loads(text)["done_reason"] == "load"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/pull", {"model": "step:latest"}, 200),
        ("POST", "/api/pull", {"model": "llama3"}, 400),
        ("POST", "/api/pull", [], 400),
        ("POST", "/api/show", "x", 400),
        ("POST", "/api/push", {}, 501),
        ("DELETE", "/api/delete", {"model": "step"}, 501),
        ("POST", "/api/embed", {"input": "a"}, 501),
        ("HEAD", "/api/version", None, 200),
        ("GET", "/api/blobs/sha256:0", None, 404),
        ("GET", "/api/chat", None, 405),
    ],
)
async def test_the_rest_is_answered_in_words(
    method: str, path: str, body: Any, status: int
) -> None:
    with ScriptedEngine(b"{}") as engine:
        found, _, text = await ask(engine, method, path, body)
        assert engine.asked == []
    assert found == status
    if status != 200:
        assert json.loads(text)["error"]


async def test_a_client_that_looks_for_ollama_finds_it_and_a_browser_the_page() -> None:
    with ScriptedEngine(b"<html>", content_type="text/html") as engine:
        assert (await ask(engine, "GET", "/"))[2] == "Ollama is running"
        assert (await ask(engine, "HEAD", "/"))[0] == 200
        assert engine.asked == []
        page = await ask(engine, "GET", "/", Accept="text/html,*/*")
        assert page[2] == "<html>"
