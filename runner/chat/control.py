"""Tells a server in mid-answer to end the thinking.

llama-server's `POST /v1/chat/completions/control` (llama.cpp b11549, `post_control`): it knows an
answer by the ID that stands in each of its events, and obeys where the request for it had
`reasoning_control`. Nobody else has that ID: the gateway of a server of ours passes it on as it is.
"""

import asyncio
from typing import Any, Final

import httpx2

from runner.base.errors import SteprunError
from runner.chat.client import read_json
from runner.chat.untrusted import mapping
from runner.net.endpoint import Endpoint
from runner.net.http import async_client

# The engine obeys between two batches; one that reads somebody else's prompt may take so long.
ANSWER_S: Final = 20.0


async def end_thinking(endpoint: Endpoint, answer_id: str) -> bool:
    """Have an answer's thinking end now; return whether the server does so."""
    body: dict[str, Any] = {"id": answer_id, "action": "reasoning_end"}
    try:
        url = f"{endpoint.api_url}/chat/completions/control"
        async with (
            asyncio.timeout(ANSWER_S),
            async_client(httpx2.Timeout(ANSWER_S), endpoint) as http,
            http.stream("POST", url, json=body, headers=endpoint.headers()) as response,
        ):
            reply = await read_json(response) if response.status_code == 200 else {}
            return mapping(reply).get("success") is True
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError, SteprunError):
        return False
