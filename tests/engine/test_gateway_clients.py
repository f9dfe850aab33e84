"""Requests that Claude Code, Codex and opencode really send, recorded and shortened.

`tests/data/gateway/requests` has a file for each: which client, what it is about, the request.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway_checks.load import Api, Ask
from gateway_checks.outcomes import judge
from tests.conftest import ROOT
from tests.engine.conftest import Served

pytestmark = pytest.mark.engine

FOLDER = ROOT / "tests" / "data" / "gateway" / "requests"
LIMITS = {"messages": "max_tokens", "responses": "max_output_tokens", "chat": "max_tokens"}


def requests_with_a_body() -> list[Path]:
    return [path for path in sorted(FOLDER.glob("*.json")) if json.loads(path.read_text())["body"]]


def api_of(path: str) -> Api:
    if path.startswith("/v1/messages"):
        return "messages"
    return "responses" if path.startswith("/v1/responses") else "chat"


@pytest.mark.parametrize("path", requests_with_a_body(), ids=lambda path: path.stem)
def test_what_a_client_sends_is_answered(served: Served, path: Path) -> None:
    import httpx2

    recorded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    api = api_of(recorded["path"])
    body = {**recorded["body"], LIMITS[api]: 8}
    # Each takes compressed answers; this test reads them as they are.
    headers = {**recorded["headers"], "Accept-Encoding": "identity"}
    reply = httpx2.post(served.url + recorded["path"], json=body, headers=headers, timeout=120)
    outcome = judge(Ask("recorded", api, recorded["path"], body), reply.status_code, reply.content)
    if (field := recorded.get("may_be_refused")) and outcome.kind == "refused":
        assert field in outcome.why
    else:
        assert outcome.kind == "answered", outcome


def test_claude_code_finds_the_server(served: Served) -> None:
    import httpx2

    assert httpx2.head(served.url).status_code == 200


def test_codex_is_told_at_once_that_there_is_no_websocket(served: Served) -> None:
    """It would try seven times after any other answer, 8 s."""
    import httpx2

    recorded = json.loads((FOLDER / "codex-websocket.json").read_text("utf-8"))
    headers = {**recorded["headers"], "Connection": "Upgrade"}
    reply = httpx2.get(served.url + recorded["path"], headers=headers)
    assert reply.status_code == 426
    assert "POST" in reply.json()["error"]["message"]
