"""From the bytes of a body to what is asked."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runner.gateway import ollama
from runner.gateway.aside import Aside, Buffer
from runner.gateway.bodies import chat, fields, messages, responses
from runner.gateway.bodies.long_words import refuse_long_text
from runner.gateway.bodies.shapes import SHAPES
from runner.gateway.bodies.wrong import check
from runner.gateway.calls import Asked
from runner.gateway.prompts import changing
from runner.gateway.refusal import Refusal
from runner.gateway.routes import Route

_BYTE: Final = re.compile(r" \(byte \d+\)")
_CLEAR: Final[dict[str, Callable[[Asked], None]]] = {
    "responses": responses.clear,
    "messages": messages.clear,
}
_COMPLETE: Final[dict[str, Callable[[Asked], None]]] = {
    "chat": chat.complete,
    "responses": responses.complete,
    "messages": messages.complete,
    **ollama.READERS,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What one server can do, and shall.

    `parallel`: the answers at once. `sees`: it has a vision encoder. `keep_headers`: what clients
    change in the beginning of every prompt stays there.
    """

    parallel: int = 1
    sees: bool = False
    keep_headers: bool = False


def read(route: Route, data: Buffer, terms: Terms) -> Asked:
    """Return what a body asks. Raises Refusal (400) for a body that is malformed.

    The steps: leave out what only another service can use, check the shape, refuse or name what is
    not honoured, complete the rest for the engine, and leave out what changes in every prompt.
    """
    aside = Aside(data)
    refuse_long_text(len(aside.rest))
    asked = Asked(route, data, _document(aside), route.engine_path, aside=aside)
    if clear := _CLEAR.get(route.body):
        clear(asked)
    if shape := SHAPES.get(route.body):
        check(asked.document, shape)
    asked.ignored += fields.ignored(route.body, asked.document)
    _how_many(asked.document, terms)
    if route.body == "completions":
        _one_prompt(asked, terms)
    if complete := _COMPLETE.get(route.body):
        complete(asked)
    if not terms.keep_headers:
        changing.leave_out(asked)
    return asked


def _how_many(document: dict[str, Any], terms: Terms) -> None:
    count = document.get("n") or 1
    if isinstance(count, int | float) and count > terms.parallel:
        raise Refusal(
            400,
            f"The field 'n' can be {terms.parallel} at most, as so many answers are written at "
            "once. Send the request several times, or start the server with a larger --parallel.",
            param="n",
        )


def _one_prompt(asked: Asked, terms: Terms) -> None:
    """Take a prompt out of its list: with a vision encoder the engine takes a text only."""
    prompt = asked.document["prompt"]
    if not terms.sees or isinstance(prompt, str):
        return
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        asked.document["prompt"] = prompt[0]
        asked.changed = True
        return
    raise Refusal(
        400,
        "The field 'prompt' must be one text while the vision encoder is loaded. Send one request "
        "for each text; tokens are taken at /completion.",
        param="prompt",
    )


def _document(aside: Aside) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(aside.rest)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        # Where it is wrong, it says of the rest only.
        what = _BYTE.sub("", str(error)) if aside else str(error)
        raise Refusal(400, f"The body is not JSON: {what}.") from error
    if not isinstance(found, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return found
