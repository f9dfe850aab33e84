"""Requests that are wrong somewhere: in a value, in the JSON, or in the bytes of HTTP."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from attacking.wire import CHAT, Target

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
# One right request for each API: a case is one of them with something wrong.
RIGHT: dict[str, dict[str, Any]] = {
    CHAT: {
        "model": "any",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        ],
        "max_tokens": 2,
        "temperature": 0.5,
        "stop": ["x"],
        "stream": False,
        "tools": [TOOL],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
    },
    "/v1/completions": {"prompt": "Hi", "max_tokens": 2, "n": 1, "logit_bias": {"1": 1}},
    "/v1/responses": {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "max_output_tokens": 2,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "text": {"format": {"type": "text"}},
    },
    "/v1/messages": {
        "model": "any",
        "max_tokens": 2,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
    },
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
    "/tokenize": {"content": "Hi"},
    "/detokenize": {"tokens": [1, 2]},
    "/apply-template": {"messages": [{"role": "user", "content": "Hi"}]},
}
WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 1e308, 2**31, 2**63, 10**40, "", "x", "\x00", "\ud800", "\U0001f600"),
    *([], [None], [[]], {}, {"": {}}, {"type": "x"}, "a" * 5000, [0] * 500, {"role": 1}),
)
BYTES = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"{",
    b"}",
    b'"',
    b"\\u",
    b"\\ud800",
    b"[" * 3000,
    b"1e999",
    b",",
)


@dataclass(frozen=True)
class Case:
    """One request. `kind`: "value", "json" or "http", after where it is wrong."""

    name: str
    kind: str
    data: bytes


def cases(target: Target, count: int, seed: int) -> Iterator[Case]:
    """Yield the cases; the same seed makes the same ones.

    Some of them ask for an answer without an end, which is as long as the context of the server.
    """
    for number in range(count):
        # Not a random number for secrets: the same one every time.
        chance = random.Random(f"{seed} {number}")  # noqa: S311
        path = chance.choice(list(RIGHT))
        document = json.loads(json.dumps(RIGHT[path]))
        kind = chance.choice(("value", "value", "json", "http"))
        if kind == "value":
            for _ in range(chance.choice((1, 1, 2))):
                _spoil(document, chance)
            data = target.post(document, path)
        elif kind == "json":
            data = target.post(_cut(json.dumps(document), chance), path)
        else:
            data = _spoil_bytes(target.post(document, path), chance)
        yield Case(f"{number} {kind} {path}", kind, data)


def _spoil(document: Any, chance: random.Random) -> None:
    """Put something wrong at a place of a document, or leave something out."""
    here, places = document, []
    while isinstance(here, dict | list) and here:
        key = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
        places.append((here, key))
        here = here[key]
    if not places:
        return
    here, key = chance.choice(places)
    if chance.random() < 0.25:
        del here[key]
    elif isinstance(here, dict) and chance.random() < 0.15:
        here[chance.choice(("", "x", "messages", "stream", "n"))] = chance.choice(WRONG)
    else:
        here[key] = chance.choice(WRONG)


def _cut(text: str, chance: random.Random) -> bytes:
    data = text.encode()
    for _ in range(chance.choice((1, 2, 5))):
        place = chance.randrange(len(data))
        data = data[:place] + chance.choice(BYTES) + data[place + chance.randrange(3) :]
    return data[: chance.randrange(1, len(data))] if chance.random() < 0.3 else data


def _spoil_bytes(data: bytes, chance: random.Random) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    what = chance.randrange(6)
    if what == 0:
        lines.insert(
            1, chance.choice((b"Transfer-Encoding: chunked", b"Content-Length: 3", b": x"))
        )
    elif what == 1:
        lines[0] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 60)))
    elif what == 2:
        del lines[chance.randrange(len(lines))]
    elif what == 3:
        at = chance.randrange(len(lines))
        lines[at] += chance.choice((b"\x00", b"\n", b"\r", b"\xff" * 9, b" " * 9000))
    elif what == 4:
        lines += [b"X-%d: y" % n for n in range(chance.choice((3, 99, 2000)))]
    else:
        mixed = bytearray(b"\r\n".join(lines))
        for _ in range(chance.randrange(1, 9)):
            mixed[chance.randrange(len(mixed))] = chance.randrange(256)
        return bytes(mixed) + b"\r\n\r\n" + body
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
