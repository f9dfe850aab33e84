"""What the engine says of a request reaches the client in the shape of its API."""

import json

import httpx2
import pytest

from runner.gateway.engine.faults import MESSAGE_CHARACTERS, refusal_of
from runner.gateway.refusal import Api, body_of
from runner.gateway.settings import Settings
from tests.fakes.answering_engine import AnsweringEngine, ScriptedAnswer, gateway_to

FULL = {
    "code": 400,
    "message": "request (90 tokens) exceeds the available context size (64 tokens)",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 90,
    "n_ctx": 64,
}


def fault(code: int, message: str, kind: str = "server_error") -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "type": kind}}).encode()


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("JSON schema error at #: unrecognized type alien", 400),
        ("Failed to parse messages: no role", 400),
        ("audio input is not supported", 400),
        ("Compute error.", 500),
        ("failed to process mtmd chunk", 500),
        ("got exception: boom", 500),
        ("std::bad_alloc", 500),
    ],
)
def test_a_fault_of_the_client_is_no_fault_of_the_server(message, status):
    refusal = refusal_of(500, fault(500, message))
    assert (refusal.status, refusal.message) == (status, message)


def test_a_message_that_repeats_the_request_is_cut():
    refusal = refusal_of(500, fault(500, "Failed to parse tools: " + "x" * 10_000))
    assert len(refusal.message) < MESSAGE_CHARACTERS + 10


@pytest.mark.parametrize(
    "body", [b"", b"Internal Server Error", b"[1]", b'{"error": "x"}', b"\xff"]
)
def test_an_answer_of_any_form_is_understood(body):
    assert refusal_of(503, body).message


def test_a_full_context_is_said_as_each_client_looks_for_it():
    refusal = refusal_of(400, json.dumps({"error": FULL}).encode())
    error = json.loads(body_of(Api.OPENAI, refusal))["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["type"] == "exceed_context_size_error"
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (90, 64)
    assert "maximum context length is 64 tokens" in error["message"]
    document = json.loads(body_of(Api.ANTHROPIC, refusal))
    assert document["type"] == "error"
    assert document["error"]["type"] == "invalid_request_error"
    assert document["error"]["message"].startswith("prompt is too long: 90 tokens > 64 maximum")


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, {"error"}),
        ("/v1/responses", {"input": "x"}, {"error"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}]}, {"type", "error"}),
    ],
)
async def test_the_engines_error_has_the_shape_of_the_api(path, body, shape):
    with AnsweringEngine() as engine:
        engine.script = ScriptedAnswer(500, {"error": {"code": 500, "message": "bad schema"}})
        async with gateway_to(engine) as url, httpx2.AsyncClient() as client:
            reply = await client.post(url + path, json=body)
    assert reply.status_code == 400
    assert set(reply.json()) == shape
    assert reply.json()["error"]["message"] == "bad schema"


async def test_a_word_too_long_never_reaches_the_engine():
    with AnsweringEngine() as engine:
        async with gateway_to(engine, longest_word=50) as url, httpx2.AsyncClient() as client:
            body = {"messages": [{"role": "user", "content": "x" * 51}]}
            reply = await client.post(f"{url}/v1/messages/count_tokens", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert engine.script.paths == []


async def test_the_answer_names_what_had_no_effect():
    with AnsweringEngine() as engine:
        async with gateway_to(engine) as url, httpx2.AsyncClient() as client:
            body = {"messages": [{"role": "user", "content": "x"}], "store": True}
            reply = await client.post(f"{url}/v1/chat/completions", json=body)
    assert reply.headers["x-steprun-ignored"] == "store"


async def test_models_are_answered_without_the_engine():
    settings = Settings(port=0, model="step", title="Step", context=4096, sees=True)
    with AnsweringEngine() as engine:
        async with gateway_to(engine, settings) as url, httpx2.AsyncClient() as client:
            (model,) = (await client.get(f"{url}/v1/models")).json()["data"]
            assert (await client.get(f"{url}/models/step")).json() == model
            version = {"anthropic-version": "2023-06-01"}
            theirs = (await client.get(f"{url}/v1/models/step", headers=version)).json()
            other = await client.get(f"{url}/v1/models/a/b", headers=version)
    assert (model["id"], model["context_length"]) == ("step", 4096)
    assert (theirs["id"], theirs["display_name"]) == ("step", "Step")
    assert other.status_code == 404
    assert other.json()["error"]["type"] == "not_found_error"
    assert engine.script.paths == []
