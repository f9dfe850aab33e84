"""What the gateway answers by itself in Ollama's API. Pure, but for the engine that is asked."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from runner.gateway.aside import Buffer
from runner.gateway.ollama.described import running, shown, tags
from runner.gateway.refusal import Refusal
from runner.gateway.settings import Settings

# Clients refuse a server that is older than what they need. This is the newest version that
# Ollama's own documentation names, as of 2026-08-21, whose API the gateway follows.
VERSION: Final = "0.24.0"
GREETING: Final = "Ollama is running"  # clients compare these very words
Props = Callable[[], Awaitable[Mapping[str, Any]]]
_ONE_MODEL: Final = "steprun serves one model and keeps it loaded, so that models are not {}."
_NOT_OFFERED: Final = {
    "/api/push": _ONE_MODEL.format("pushed"),
    "/api/create": _ONE_MODEL.format("created"),
    "/api/copy": _ONE_MODEL.format("copied"),
    "/api/delete": _ONE_MODEL.format("deleted"),
    "/api/embed": "This model writes text and makes no embeddings.",
    "/api/embeddings": "This model writes text and makes no embeddings.",
}


class _Named(msgspec.Struct):
    model: str | None = None
    name: str | None = None  # what older clients send


def greets(path: str, headers: Mapping[str, str]) -> bool:
    """Tell whether it is a client that looks for Ollama, and no browser that wants the page."""
    return path == "/" and "text/html" not in headers.get("Accept", "")


async def answer(
    path: str, body: Buffer, settings: Settings, started: float, *, ready: bool, props: Props
) -> bytes:
    """Return the JSON that answers a request.

    `started`: when the gateway was, in s since 1970. `ready`: the model is loaded. `props` asks the
    engine for its /props. Raises Refusal: 400 for a body that is malformed or another model to
    pull, 501 for what is not offered.
    """
    match path:
        case "/api/version":
            return _json({"version": VERSION})
        case "/api/tags":
            return _json(tags(settings, started))
        case "/api/ps":
            return _json(running(settings, ready=ready))
        case "/api/show":
            _name(body)
            return _json(shown(settings, started, await props()))
        case "/api/pull":
            return _pull(_name(body), settings)
        case _:
            raise Refusal(501, _NOT_OFFERED[path])


def _name(body: Buffer) -> str:
    try:
        asked = msgspec.json.decode(body, type=_Named)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Refusal(400, f"The body cannot be read: {error}.") from error
    return asked.model or asked.name or ""


def _pull(name: str, settings: Settings) -> bytes:
    """Answer a pull: of the model that is served it is done already."""
    if name.removesuffix(":latest") != settings.model:
        words = f"Only {settings.model} is served here. It answers to any name, without a pull."
        raise Refusal(400, words, param="model")
    return _json({"status": "success"}) + b"\n"


def _json(document: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(document)
