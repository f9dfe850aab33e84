"""What the engine says of a request that it does not answer, as a refusal. Pure.

The engine has one shape for every API, and says 500 of much that is the client's doing: whatever
it throws while it reads a request, such as a bad schema. Clients repeat a 500, in vain.
"""

from typing import Any, Final

import msgspec

from runner.gateway.refusal import Refusal

MESSAGE_CHARACTERS: Final = 600  # some messages repeat the request
CONTEXT_FULL: Final = "exceed_context_size_error"

# How the engine's messages about itself begin (llama.cpp b11549: server-context.cpp, where
# ERROR_TYPE_SERVER is given, and what the C++ library throws without memory).
_ITS_OWN: Final = (
    *("failed to get", "failed to process", "failed to decode", "got exception", "Compute error"),
    *("Invalid input batch", "Context size has been exceeded", "context shift"),
    *("the current context", "std::bad_alloc", "unknown error", "Internal Server Error"),
)


def refusal_of(status: int, body: bytes) -> Refusal:
    """Return the refusal for an answer of the engine that is not a success."""
    error = _error(body)
    message = str(error.get("message") or "").strip() or body.decode("utf-8", "replace").strip()
    kind = error.get("type")
    if kind == CONTEXT_FULL:
        return _context_full(message, error)
    if status == 500 and not message.startswith(_ITS_OWN):
        status, kind = 400, None
    kind = kind if isinstance(kind, str) and status != 400 else ""
    return Refusal(status, _short(message) or f"The engine answered {status}.", kind=kind)


def _context_full(message: str, error: dict[str, Any]) -> Refusal:
    """Return what clients know as a conversation that is too long, and may shorten by themselves.

    Claude Code looks for "prompt is too long: N tokens > M maximum", LiteLLM for "maximum context
    length", OpenAI's clients for the code, and llama.cpp's own for the type and the numbers.
    """
    facts: dict[str, str | int] = {"code": "context_length_exceeded"}
    asked, size = error.get("n_prompt_tokens"), error.get("n_ctx")
    if isinstance(asked, int) and isinstance(size, int):
        facts |= {"n_prompt_tokens": asked, "n_ctx": size}
        message = (
            f"prompt is too long: {asked} tokens > {size} maximum. This exceeds the available "
            f"context size: the model's maximum context length is {size} tokens as it is served. "
            "Shorten the conversation, or start the server with a larger --ctx."
        )
    return Refusal(400, _short(message), kind=CONTEXT_FULL, facts=facts)


def _error(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    error = document.get("error", document) if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {"message": error}


def _short(message: str) -> str:
    if len(message) <= MESSAGE_CHARACTERS:
        return message
    return f"{message[:MESSAGE_CHARACTERS]} ..."
