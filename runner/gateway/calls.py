"""What a client asked, and what the engine is asked for it: between `bodies` and `relay`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from runner.gateway.aside import Aside, Buffer
from runner.gateway.refusal import Refusal
from runner.gateway.routes import Route

IGNORED: Final = "x-steprun-ignored"  # names the fields of a request that had no effect


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

    `document`: the body, as the engine's own API has it, without what is set `aside`. `changed`: it
    is no longer what `data` holds, so that it has to be written anew. `translate` makes the
    translator of a successful answer, None where it passes through. `method` and `path`: the
    engine's. `ignored`: the fields that have no effect here, to be named in the answer.
    """

    route: Route
    data: Buffer
    document: dict[str, Any]
    path: str
    method: str = "POST"
    changed: bool = False
    translate: Callable[[], Translator] | None = None
    ignored: list[str] = field(default_factory=list)
    aside: Aside = field(default_factory=Aside)

    @property
    def stream(self) -> bool:
        """Whether the engine is asked to answer piece by piece."""
        return self.document.get("stream") is True


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One request to the engine. `stream`: its answer comes piece by piece.

    `body`: in parts that follow each other. `headers`: what the answer to the client says beside
    the engine's own.
    """

    method: str
    path: str
    body: Sequence[Buffer] = ()
    stream: bool = False
    translate: Callable[[], Translator] | None = None
    headers: tuple[tuple[str, str], ...] = ()


def call_of(asked: Asked) -> EngineCall:
    """Return what to send to the engine: the client's own bytes, unless something was changed.

    Raises Refusal (400) for a body that is too deep to be written again.
    """
    body = asked.aside.parts(_encode(asked.document)) if asked.changed else [asked.data]
    ignored = ", ".join(dict.fromkeys(asked.ignored))
    headers = ((IGNORED, ignored.encode("ascii", "replace").decode()),) if ignored else ()
    return EngineCall(asked.method, asked.path, body, asked.stream, asked.translate, headers)


def _encode(document: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(document)
    except OverflowError:  # a number of more than 64 bits: the engine says which
        return json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise Refusal(400, "The body has too many objects inside each other.") from error
