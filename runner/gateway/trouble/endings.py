"""How an answer ends that the gateway ends: in words of the API that was spoken. Pure."""

import json
import re
import time
from typing import Any, Final

from runner.gateway.activity import Entry
from runner.gateway.refusal import Api, Refusal
from runner.gateway.trouble.limits import ALLOW, HEADER
from runner.gateway.trouble.repetition import Loop

_WITH_CHOICES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "/v1/chat/completions": ("chat.completion.chunk", {"delta": {}}),
    "/v1/completions": ("text_completion", {"text": ""}),
}
_NAMES: Final = {
    "id": re.compile(rb'"id":"((?:chatcmpl|cmpl)-[\w-]{1,80})"'),
    "model": re.compile(rb'"model":"([^"\\]{1,200})"'),
}


def refusal_for(loop: Loop, entry: Entry) -> Refusal:
    """Return what ends an answer that repeats itself.

    The code lets a program tell it from other errors. Programs repeat a request that has failed:
    the next answer is another one, as tokens are drawn by chance.
    """
    return Refusal(
        502,
        f"{loop.in_words()}. It was ended here. Send the request again; where such an answer is "
        f"wanted, send the header '{HEADER}: {ALLOW}'.",
        facts={"code": "repetition"},
        before=finish_of(entry),
    )


def finish_of(entry: Entry) -> bytes:
    """Return the event that ends a stream of OpenAI's choices as cut off; empty for other APIs.

    The others have an error that ends a stream. OpenAI's choices have none, and clients that do
    not know llama.cpp's would take the answer for one that is still going on.
    """
    shape = _WITH_CHOICES.get(entry.path)
    if shape is None or entry.api is not Api.OPENAI:
        return b""
    kind, part = shape
    names = {
        name: found[-1].decode("utf-8", "replace")
        for name, pattern in _NAMES.items()
        if (found := pattern.findall(entry.tail))
    }
    choice = {"index": 0, **part, "finish_reason": "length"}
    chunk = {**names, "object": kind, "created": int(time.time()), "choices": [choice]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
