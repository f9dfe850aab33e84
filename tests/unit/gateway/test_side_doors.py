"""The engine's routes, as its source has them (llama.cpp b11549), and which of them pass."""

import pytest

from runner.gateway.refusal import Refusal
from runner.gateway.routes import find
from tests.fakes.plain_engine import guarded

# `tools/server/server.cpp`: every route that it registers, but for those below that pass.
CLOSED = (
    *("POST /props", "POST /slots/0", "POST /slots/0?action=erase"),
    *("GET /lora-adapters", "POST /lora-adapters"),
    *("GET /v1/stream", "GET /cors-proxy", "POST /cors-proxy", "POST /tools"),
    *("POST /models", "POST /models/load", "POST /models/unload", "GET /models/sse"),
    *("POST /embedding", "POST /embeddings", "POST /v1/embeddings"),
    *("POST /rerank", "POST /reranking", "POST /v1/rerank", "POST /v1/reranking"),
    *("POST /v1/audio/transcriptions", "POST /audio/transcriptions", "POST /v1/systemone"),
)
OPEN = (
    *("GET /health", "GET /v1/models", "GET /props", "POST /completion", "POST /v1/completions"),
    *("POST /chat/completions", "POST /v1/chat/completions", "POST /v1/responses"),
    *("POST /v1/messages", "POST /v1/messages/count_tokens"),
    *("POST /tokenize", "POST /detokenize", "POST /apply-template", "POST /infill"),
    # What the web page asks: of the slots no prompts, of the tools those that there are.
    *("GET /slots", "GET /tools", "POST /v1/streams/lookup", "POST /v1/chat/completions/control"),
)


@pytest.mark.parametrize("line", CLOSED)
async def test_a_side_door_is_closed(line: str) -> None:
    method, path = line.split()
    async with guarded() as gateway:
        for spelling in (path, f"/{path}", path.replace("/", "/./", 1), f"{path}/"):
            status, _, _ = await gateway.ask(method, spelling, b"{}" if method == "POST" else b"")
            assert status in {404, 405, 501}, spelling
        assert gateway.asked == []


@pytest.mark.parametrize("line", OPEN)
def test_what_passes(line: str) -> None:
    method, path = line.split()
    route = find(method, path)
    assert path in {route.path, *route.also}


def test_another_spelling_is_another_path() -> None:
    for path in ("/V1/models", "/v1/models/", "//v1/models", "/v1/../slots", "/v1%2fmodels"):
        with pytest.raises(Refusal):
            find("GET", path)
