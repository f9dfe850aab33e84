"""What a client asked, and what the engine is asked for it: between `bodies` and `relay`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from runner.gateway.aside import Aside, Buffer
from runner.gateway.prompts import ahead
from runner.gateway.prompts.ahead import Ahead
from runner.gateway.refusal import Refusal
from runner.gateway.routes import Route
from runner.kv.prompt import Prompt

IGNORED: Final = "x-steprun-ignored"  # names the fields of a request that had no effect
# llama.cpp b11549 passes a few fields of Anthropic's Messages on, and `id_slot` is none of them.
_WITHOUT_SLOT: Final = frozenset({"/v1/messages"})
_ANSWERS: Final = ("n", "n_cmpl")
_ANSWER_TOKENS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict")


_END_BYTES: Final = 256  # a body ends with a brace, and some with white space behind it


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
    engine's. `ignored`: the fields that have no effect here, to be named in the answer. `ahead`:
    the beginning of its prompt that others may have, too.
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
    ahead: Prompt | None = None

    @property
    def stream(self) -> bool:
        """Whether the engine is asked to answer piece by piece."""
        return self.document.get("stream") is True


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One request to the engine. `stream`: its answer comes piece by piece.

    `body`: in parts that follow each other. `headers`: what the answer to the client says beside
    the engine's own. Of one that generates: `takes_slot`: it may name the slot that is to answer
    it; `reads_cache`: what is cached may be used; `answers`: how many at once; `answer_tokens`: how
    many are written at most, 0 where it does not say; `ahead`: what may be read before the rest.
    `pictures`: the field of its first one, empty without any. `guarded`: its answer is ended where
    it repeats itself without end.
    """

    method: str
    path: str
    body: Sequence[Buffer] = ()
    stream: bool = False
    translate: Callable[[], Translator] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    takes_slot: bool = True
    reads_cache: bool = True
    answers: int = 1
    answer_tokens: int = 0
    ahead: Ahead | None = None
    pictures: str = ""
    guarded: bool = False

    def at_slot(self, slot: int) -> "EngineCall":
        """Return the same for one slot of the engine, where it can be named.

        It is put at the end: of two fields of one name, the engine takes the last.
        """
        if not self.takes_slot:
            return self
        return replace(self, body=with_slot(self.body, slot))


def with_slot(body: Sequence[Buffer], slot: int) -> list[Buffer]:
    """Return a body of the engine's API with the slot that is to answer it."""
    return with_number(body, b"id_slot", slot)


def with_number(body: Sequence[Buffer], name: bytes, value: int) -> list[Buffer]:
    """Return a body of the engine's API with one more field, without a copy of the rest."""
    *parts, last = [memoryview(each) for each in body]
    return [*parts, last[: _last_brace(last)], b',"%s":%d}' % (name, value)]


def call_of(asked: Asked) -> EngineCall:
    """Return what to send to the engine: the client's own bytes, unless something was changed.

    Raises Refusal (400) for a body that is too deep to be written again.
    """
    body = asked.aside.parts(_encode(asked.document)) if asked.changed else [asked.data]
    ignored = ", ".join(dict.fromkeys(asked.ignored))
    headers = ((IGNORED, ignored.encode("ascii", "replace").decode()),) if ignored else ()
    document, beginning = asked.document, None
    if asked.ahead is not None:
        write = partial(ahead.body_of, document, asked.aside)
        seen = asked.stream and document.get("return_progress") is True
        beginning = Ahead(asked.ahead, write, seen)
    return EngineCall(
        asked.method,
        asked.path,
        body,
        asked.stream,
        asked.translate,
        headers,
        takes_slot=asked.path not in _WITHOUT_SLOT,
        reads_cache=document.get("cache_prompt") is not False,
        answers=max(1, *(_whole(document.get(name)) for name in _ANSWERS)),
        answer_tokens=max(_whole(document.get(name)) for name in _ANSWER_TOKENS),
        ahead=beginning,
    )


def _last_brace(text: memoryview) -> int:
    """Return where the last brace of a JSON object is, mostly without a copy of all of it."""
    for tail in (text[-_END_BYTES:], text):
        if (at := bytes(tail).rfind(b"}")) >= 0:
            return len(text) - len(tail) + at
    return len(text)


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 31 else 0


def _encode(document: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(document)
    except OverflowError:  # a number of more than 64 bits: the engine says which
        return json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise Refusal(400, "The body has too many objects inside each other.") from error
