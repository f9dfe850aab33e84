"""Asks a gateway one request at a time, and reads what its request log says of it."""

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway_checks.serving import Served

LIMIT_S: Final = 1200.0
LOGGED_S: Final = 10.0  # a thread writes the log


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a client. `body` is sent as it is, with greedy sampling and streamed."""

    client: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it. `prompt` and `cached` in tokens; `because`: why tokens were read again."""

    text: str
    prompt: int
    cached: int
    restored: int
    first_s: float
    because: str

    @property
    def read(self) -> int:
        """The tokens that were read for it."""
        return self.prompt - self.cached


def ask(served: Served, request: Ask) -> Answer:
    """Send a request and return its answer, with the gateway's account of it."""
    log = _log(served)
    lines = _lines(log)
    body = {**request.body, "stream": True, "temperature": 0}
    post = urllib.request.Request(  # noqa: S310 - http, ours
        served.url + request.path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "User-Agent": request.client},
    )
    with urllib.request.urlopen(post, timeout=LIMIT_S) as reply:  # noqa: S310 - as above
        text = "".join(_pieces(reply))
    account = _account(log, lines)
    return Answer(
        text,
        account["prompt_tokens"] or 0,
        account["cached_tokens"] or 0,
        account.get("restored_tokens") or 0,
        account.get("first_token_s") or 0.0,
        account.get("reread_because") or "",
    )


def _pieces(reply: Any) -> Iterator[str]:
    """Yield what the model wrote, thinking and calls included, in any API's events."""
    for line in reply:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if event.get("type") == "error" or "error" in event:
            raise ValueError(f"The answer broke: {line[:300]!r}")
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            yield delta.get("reasoning_content") or ""
            yield delta.get("content") or ""
            yield from (
                json.dumps(call.get("function") or {}) for call in delta.get("tool_calls") or ()
            )
        delta = event.get("delta")
        if isinstance(delta, str):
            yield delta
        elif isinstance(delta, dict):
            yield from (delta.get(name) or "" for name in ("text", "thinking", "partial_json"))


def _log(served: Served) -> Path:
    port = served.url.rpartition(":")[2]
    return served.home / "state" / "logs" / f"requests-{port}.jsonl"


def _lines(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines() if log.exists() else []


def _account(log: Path, before: list[bytes]) -> dict[str, Any]:
    """Return the line that was written since."""
    deadline = time.monotonic() + LOGGED_S
    while time.monotonic() < deadline:
        if new := _lines(log)[len(before) :]:
            account: dict[str, Any] = json.loads(new[-1])
            return account
        time.sleep(0.01)
    raise TimeoutError(f"No line was added to {log} within {LOGGED_S:.0f} s.")
