"""An answer that does not end by itself: ended in words of each API."""

import json
from typing import Any

import pytest
from aiohttp import web

from runner.gateway.calls import EngineCall
from runner.gateway.refusal import Refusal
from runner.gateway.settings import Settings
from runner.gateway.trouble.limits import HEADER, MOST_THINKING, limited
from tests.fakes.kept_engine import FakeEngines, begun, fine
from tests.unit.gateway.conftest import Open

CHUNK = {"id": "chatcmpl-7", "model": "tiny", "object": "chat.completion.chunk"}


def looping(events: int = 20_000) -> Any:
    """Return an engine that writes `<` without end, in OpenAI's words."""
    chunk = {**CHUNK, "choices": [{"index": 0, "delta": {"content": "<"}, "finish_reason": None}]}
    event = b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"

    async def answer(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        assert asked["stream"]
        stream = await begun(request)
        for _ in range(events // 100):
            await stream.write(event * 100)
        await stream.write(b"data: [DONE]\n\n")
        return stream

    return answer


async def test_a_chat_completion_ends_as_cut_off_and_says_why(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.answer = looping()
    async with gateway() as running:
        status, text = await running.text(stream=True)
        *_, finish, error = text.strip().split("\n\n")
        assert status == 200
        assert text.count('"content":"<"') < 12_000
        last = json.loads(finish.removeprefix("data: "))
        assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
        assert (last["id"], last["model"]) == ("chatcmpl-7", "tiny")
        said = json.loads(error.removeprefix("data: "))["error"]
        assert said["code"] == "repetition"
        assert "the same character over and over" in said["message"]
        assert HEADER in said["message"]
        engines.answer = fine
        assert (await running.text())[0] == 200, "the place at the engine is free again"
        async with running.http.get(f"{running.url}/steprun/status") as reply:
            (notice,) = (await reply.json())["notices"]
        assert "repeated itself" in notice["what"]
        assert notice["what"] in running.told.words


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/responses", 'event: error\ndata: {"type": "error"'),
        ("/v1/messages", 'event: error\ndata: {"type": "error", "error": {"type": "api_error"'),
        ("/api/chat", '{"error": "The answer repeated itself'),
    ],
)
async def test_other_apis_have_an_error_that_ends_a_stream(
    gateway: Open, engines: FakeEngines, path: str, last: str
) -> None:
    engines.answer = looping()
    async with gateway() as running:
        fields = {"model": "tiny"} if path == "/api/chat" else {"max_tokens": 50_000}
        status, text = await running.text(path, stream=True, **fields)
        assert status == 200, text
        end = text.strip().rpartition("\n\n" if "v1" in path else "\n")[2]
        assert end.startswith(last), end
        assert "finish_reason" not in end


@pytest.mark.parametrize("by", ["request", "server"])
async def test_it_is_let_go_on_where_that_is_allowed(
    gateway: Open, engines: FakeEngines, by: str
) -> None:
    engines.answer = looping()
    headers = {HEADER: "Allow"} if by == "request" else {}
    async with (
        gateway(allow_repetition=by == "server") as running,
        running.http.post(
            f"{running.url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "Hi"}], "stream": True},
            headers=headers,
        ) as reply,
    ):
        text = await reply.text()
    assert text.count('"content":"<"') == 20_000
    assert text.endswith("data: [DONE]\n\n")


async def test_a_word_that_the_header_does_not_have_is_refused(gateway: Open) -> None:
    async with (
        gateway() as running,
        running.http.post(
            f"{running.url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "Hi"}]},
            headers={HEADER: "yes"},
        ) as reply,
    ):
        assert reply.status == 400
        assert HEADER in (await reply.json())["error"]["message"]


CHAT = EngineCall("POST", "/v1/chat/completions", (b'{"messages":[]}',))


@pytest.mark.parametrize(
    ("context", "document", "tokens", "most"),
    [
        (32_768, {}, 0, 16_384),
        (262_144, {}, 0, MOST_THINKING),
        (0, {}, 0, None),
        (32_768, {}, 4096, None),
        (32_768, {"thinking_budget_tokens": 9}, 0, None),
        (32_768, {"reasoning_budget_tokens": -1}, 0, None),
        (32_768, {"grammar": "root ::= [a-z] root"}, 0, None),
    ],
)
def test_thinking_ends_where_nothing_else_bounds_it(
    context: int, document: dict[str, Any], tokens: int, most: int | None
) -> None:
    call = EngineCall("POST", CHAT.path, CHAT.body, answer_tokens=tokens)
    body = b"".join(limited(call, document, {}, Settings(context=context)).body)
    assert json.loads(body).get("thinking_budget_tokens") == most


def test_only_what_thinks_is_given_a_limit() -> None:
    call = EngineCall("POST", "/v1/completions", (b'{"prompt":""}',))
    assert limited(call, {}, {}, Settings(context=4096)).body == call.body
    with pytest.raises(Refusal):
        limited(call, {}, {HEADER: "no"}, Settings())
