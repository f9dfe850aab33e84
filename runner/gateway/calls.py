"""What a client asked, and what the engine is asked for it: between `bodies` and `relay`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from runner.gateway.routes import Route


class Translator(Protocol):
    """Turns the engine's answer into another API's while it arrives, such as Ollama's.

    Only such APIs have one: all other answers pass through unread.
    """

    content_type: str

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; return what to send now, may be empty."""

    def close(self) -> bytes:
        """Return what ends the answer."""


@dataclass(slots=True)
class Asked:
    """One request whose body was read.

    `document`: the body, as the engine's own API has it. `changed`: it is no longer what `data`
    holds, so that it has to be written anew. `translate` makes the translator of a successful
    answer, None where it passes through. `method` and `path`: the engine's.
    """

    route: Route
    data: bytes
    document: dict[str, Any]
    path: str
    method: str = "POST"
    changed: bool = False
    translate: Callable[[], Translator] | None = None

    @property
    def stream(self) -> bool:
        """Whether the engine is asked to answer piece by piece."""
        return self.document.get("stream") is True


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One request to the engine. `stream`: its answer comes piece by piece."""

    method: str
    path: str
    body: bytes = b""
    stream: bool = False
    translate: Callable[[], Translator] | None = None


def call_of(asked: Asked) -> EngineCall:
    """Return what to send to the engine: the client's own bytes, unless something was changed."""
    body = msgspec.json.encode(asked.document) if asked.changed else asked.data
    return EngineCall(asked.method, asked.path, body, asked.stream, asked.translate)
