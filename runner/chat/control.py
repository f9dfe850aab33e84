"""Tells a server in mid-answer to end the thinking.

llama-server's `POST /v1/chat/completions/control` (llama.cpp b11549, `post_control`): it knows an
answer by the ID that stands in each of its events, and obeys where the request for it had
`reasoning_control`. Nobody else has that ID: the gateway of a server of ours passes it on as it is.
"""

from typing import Any, Final

import httpx2

from runner.base.errors import SteprunError
from runner.chat.untrusted import mapping
from runner.net.endpoint import Endpoint
from runner.net.http import async_client

# The engine obeys between two batches; one that reads somebody else's prompt may take so long.
ANSWER_S: Final = 20.0
_REPLY_BYTES: Final = 64 << 10


async def end_thinking(endpoint: Endpoint, answer_id: str) -> bool:
    """Have an answer's thinking end now; return whether the server does so."""
    body: dict[str, Any] = {"id": answer_id, "action": "reasoning_end"}
    try:
        async with async_client(httpx2.Timeout(ANSWER_S), endpoint) as http:
            url = f"{endpoint.api_url}/chat/completions/control"
            reply = await http.post(url, json=body, headers=endpoint.headers())
            if reply.status_code != 200 or len(reply.content) > _REPLY_BYTES:
                return False
            return mapping(reply.json()).get("success") is True
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError, SteprunError):
        return False
