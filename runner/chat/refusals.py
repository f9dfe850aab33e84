"""What a server's refusal means, as the error that people see. Pure."""

import json
from typing import Any, Final

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.text import clean
from runner.chat.untrusted import mapping


class Unreachable(SteprunError):  # noqa: N818 - it may be there again
    """Nothing answers at a server's address."""


def ended_answer(chunk: Any) -> SteprunError | None:
    """Return why a server of steprun's has ended an answer; None for any other error."""
    error = mapping(mapping(chunk).get("error"))
    if error.get("code") != "repetition":
        return None
    message = clean(str(error.get("message") or ""))[:500]
    return SteprunError(
        "The answer repeated itself without end, and was ended.",
        why=message.partition(" It was ended here.")[0].strip(),
        next="Ask again; in another way if it happens again.",
    )


def server_error(status: int, body: Any) -> SteprunError:
    """Return the error of a refused request.

    `status`: the HTTP status, 0 in the middle of a stream. `body`: the parsed reply.
    """
    whole = mapping(body)
    reported = whole.get("error")
    error = mapping(reported)
    if not isinstance(reported, str):
        reported = error.get("message") or whole.get("message") or whole.get("detail") or reported
    message = clean(reported if isinstance(reported, str) else _compact(reported)).strip()[:500]
    kind = f"{error.get('type') or ''} {error.get('code') or ''} {whole.get('type') or ''}"
    lower = message.lower()
    in_words, status = status, status or _status_of(error.get("code") or whole.get("code"))
    if (
        "exceed_context_size_error" in kind
        or "context_length_exceeded" in kind
        or any(words in lower for words in _CONTEXT_FULL)
    ):
        return Refused(
            "The conversation no longer fits the context.",
            why=message,
            next="Start a new chat (/new), or restart with a larger context: --ctx N",
        )
    if status in {401, 403}:
        return Refused(
            "The server requires an API key.",
            why=message or f"It answered {status}.",
            next="Set STEPRUN_API_KEY, or name the file that holds the key: --api-key-file FILE",
        )
    if "model" in lower and status in {400, 404, 422} and any(w in lower for w in _NO_MODEL):
        return UsageError(
            "The server does not know which model to use.",
            why=message,
            next="Name one that it offers: --model NAME",
        )
    if "image" in lower and ("support" in lower or "mmproj" in lower):
        return Refused(
            "This model cannot see images.",
            why=message,
            next="Send text only, or choose a model with a vision encoder: steprun models",
        )
    if status in {404, 405}:
        return SteprunError(
            "The server has no chat completions at this address.",
            why=message or f"It answered {status}.",
            next="Check the URL, with the path before /v1 if it has one.",
        )
    if status == 429:
        return SteprunError(
            "The server allows no more requests for now.",
            why=message or "It answered 429.",
            next="Wait a moment and ask again.",
        )
    if status == 402:
        return Refused(
            "The service asks for payment.",
            why=message or "It answered 402.",
            next="Check the account's credit, or choose another model: --model NAME",
        )
    if status == 413:
        return UsageError(
            "The message is too large for the server.",
            why=message or "It answered 413.",
            next="Send less text, or fewer or smaller images.",
        )
    if status in _GATEWAY and not message:
        return SteprunError(
            f"The server failed with status {status}.",
            why="A proxy answered in its place: the server behind it is down, busy or too slow.",
            next="Try again in a moment; if it lasts, check that server.",
        )
    if status in {400, 422}:
        return UsageError(
            "The server refused the request.",
            why=message,
            next="Change the question or the options.",
        )
    return SteprunError(
        f"The server failed{f' with status {in_words}' if in_words else ' during the answer'}.",
        why=message or "It gave no reason.",
        next="Try again; if it fails again, see the server's log, or for steprun's own engine: "
        "steprun doctor",
    )


# What proxies answer where the server behind them does not; from 520 on, Cloudflare's.
_GATEWAY: Final = frozenset({502, 503, 504, *range(520, 528), 530})
_CONTEXT_FULL: Final = (
    *("context size", "context length", "context window", "maximum context", "exceed_context"),
    *("prompt is too long", "input is too long", "greater than the context"),
)
_NO_MODEL: Final = (
    *("no model", "required", "missing", "not found", "does not exist", "unknown", "not exist"),
    *("invalid model", "must provide", "not loaded", "unloaded", "not available"),
)


def _compact(reported: object) -> str:
    """Return an error that is neither a text nor an object with one, such as a list of faults."""
    if not reported or isinstance(reported, bool | int | float):
        return ""
    return json.dumps(reported)[:500]


def _status_of(code: object) -> int:
    return code if type(code) is int and 400 <= code < 600 else 0


def garbled(data: str) -> SteprunError:
    """Return the error of an answer that is not a chat completion."""
    return SteprunError(
        "The server's answer cannot be understood.",
        why=f"It sent {data[:80]!r} instead of a chat completion.",
        next="Check that the URL is that of an OpenAI-compatible server.",
    )
