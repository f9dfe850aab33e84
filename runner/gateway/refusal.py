"""A request that is refused, in the shape of the API that was spoken. Pure."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Api(StrEnum):
    """The API that a request speaks; it decides the shape of errors."""

    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """Why a request is not answered.

    `status`: of HTTP. `message`: for people: what is wrong, and what to send instead. `param`: the
    field that is wrong, empty where none is. `retry_after_s`: when to ask again, 0 for never.
    `kind`: what OpenAI's shape says in place of the usual type, `facts`: beside its usual fields.
    `before`: of a stream that has begun, the event before that of the refusal, empty for none.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str = "",
        retry_after_s: int = 0,
        kind: str = "",
        facts: Mapping[str, str | int] | None = None,
        before: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.kind = kind
        self.facts = dict(facts or {})
        self.before = before


def body_of(api: Api, refusal: Refusal) -> bytes:
    """Return the body of a refusal, as JSON."""
    return json.dumps(_document(api, refusal), ensure_ascii=False).encode("utf-8", "replace")


def event_of(api: Api, refusal: Refusal) -> bytes:
    """Return what ends a stream that has already begun: an event, or for Ollama a line."""
    data = body_of(api, refusal)
    match api:
        case Api.OLLAMA:
            return data + b"\n"
        case Api.ANTHROPIC:
            return b"event: error\ndata: " + data + b"\n\n"
        case Api.RESPONSES:
            flat = {"type": "error", "code": _kind(refusal.status), "message": refusal.message}
            return b"event: error\ndata: " + json.dumps(flat).encode() + b"\n\n"
        case _:
            return b"data: " + data + b"\n\n"


def _document(api: Api, refusal: Refusal) -> dict[str, Any]:
    if api is Api.OLLAMA:
        return {"error": refusal.message}
    kind = _kind(refusal.status)
    if api is Api.ANTHROPIC:
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}
    error = {
        "message": refusal.message,
        "type": refusal.kind or kind,
        "param": refusal.param or None,
        "code": refusal.status,
        **refusal.facts,
    }
    return {"error": error}


_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def _kind(status: int) -> str:
    return _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
