"""What became of a request, judged as its client would. Pure."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from gateway_checks.load import Api, Ask

Kind = Literal["answered", "refused", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended. `why`: the message of a refusal, or what was lost and how."""

    kind: Kind
    status: int = 0
    why: str = ""


def judge(ask: Ask, status: int, body: bytes) -> Outcome:
    """Return what an answer that was received to its end amounts to.

    Lost is what no client can tell from an answer or a refusal: a stream without its end, an error
    that does not have the shape of the API.
    """
    if status >= 400:
        message = error_of(ask.api, _json(body))
        if message is None:
            return Outcome("lost", status, f"status {status} without an error of the API")
        return Outcome("refused", status, message)
    if ask.stream:
        return _judge_stream(ask, status, body)
    document = _json(body)
    if not isinstance(document, dict):
        return Outcome("lost", status, "an answer that is not JSON, or was cut")
    if (message := error_of(ask.api, document)) is not None:
        return Outcome("refused", status, message)
    return Outcome("answered", status)


def error_of(api: Api, document: Any) -> str | None:
    """Return the message of an error in the shape of its API; None where it is none."""
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if api == "ollama":
        return error if isinstance(error, str) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    if api == "messages" and document.get("type") != "error":
        return None
    return str(error["message"])


def _judge_stream(ask: Ask, status: int, body: bytes) -> Outcome:
    """Find the last event of a stream, which says how it ended."""
    ended = False
    for line in body.splitlines():
        data = line.removeprefix(b"data:").strip()
        if ask.api != "ollama" and not line.startswith(b"data:"):
            continue
        if data == b"[DONE]":
            ended = ended or ask.api == "chat"
            continue
        event = _json(data)
        if not isinstance(event, dict):
            continue
        if (message := _stream_error(ask.api, event)) is not None:
            return Outcome("refused", status, message)
        ended = ended or _is_last(ask.api, event)
    return Outcome("answered", status) if ended else Outcome("lost", status, "a stream cut short")


def _stream_error(api: Api, event: dict[str, Any]) -> str | None:
    if api == "responses":
        if event.get("type") == "error":
            return str(event.get("message", ""))
        if event.get("type") == "response.failed":
            return str(event.get("response", {}).get("error", ""))
        return None
    return error_of(api, event)


def _is_last(api: Api, event: dict[str, Any]) -> bool:
    match api:
        case "messages":
            return event.get("type") == "message_stop"
        case "responses":
            return event.get("type") in {"response.completed", "response.incomplete"}
        case "ollama":
            return event.get("done") is True
        case _:
            return False  # chat completions end with [DONE]


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
