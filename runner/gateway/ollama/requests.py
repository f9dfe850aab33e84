"""From Ollama's requests to the engine's own. Pure, but for the clock that is read once.

Source of the fields: docs/api.md and api/types.go of ollama/ollama, as of 2026-08-21.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from runner.gateway.calls import Asked
from runner.gateway.ollama.answers import Answer, Shape, Translated
from runner.gateway.ollama.clock import now
from runner.gateway.ollama.options import engine_fields
from runner.gateway.refusal import Refusal

_Body = TypeVar("_Body")
# The first letters of base64 say which format it is. Of others the gateway looks at the bytes.
_MIMES: Final = {
    "iVBOR": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
# "max" is the highest that some models have; `false` cannot be had of a model that always thinks,
# so that it thinks little and the client does not see it.
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "max": "high", False: "low"}


class _Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | str | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _Common(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    think: bool | str | None = None
    options: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def streams(self) -> bool:
        return self.stream is not False


class _Chat(_Common):
    messages: list[_Message] | None = None
    tools: list[dict[str, Any]] | None = None


class _Generate(_Common):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = None
    images: list[str] | None = None


def chat(asked: Asked) -> None:
    """Read a body of /api/chat. Raises Refusal (400)."""
    body = _read(asked, _Chat)
    if not body.messages:
        _load(asked, body, "message")
        return
    document = _document(body)
    document["messages"] = _messages(body.messages)
    if body.tools:
        document["tools"] = body.tools
    _format_of_chat(body, document)
    _ask(asked, body, document, "message")


def generate(asked: Asked) -> None:
    """Read a body of /api/generate. Raises Refusal (400)."""
    body = _read(asked, _Generate)
    if body.suffix:
        raise Refusal(400, "This model writes no text between two others.", param="suffix")
    if body.template:
        words = "A template of one's own is not taken. Send the whole prompt, and raw: true."
        raise Refusal(400, words, param="template")
    if not body.prompt and not body.images:
        _load(asked, body, "response")
        return
    document = _document(body)
    if body.raw:
        if body.images or body.system:
            raise Refusal(400, "raw: true takes a prompt only, no images and no system.")
        document["prompt"] = body.prompt
        asked.path = "/v1/completions"
        if body.format:
            document["json_schema"] = _schema(body.format) or {"type": "object"}
    else:
        system = [_Message("system", body.system)] if body.system else []
        user = _Message("user", body.prompt, images=body.images)
        document["messages"] = _messages([*system, user])
        _format_of_chat(body, document)
    _ask(asked, body, document, "response")


READERS: Final[Mapping[str, Callable[[Asked], None]]] = {
    "ollama-chat": chat,
    "ollama-generate": generate,
}


def _read(asked: Asked, kind: type[_Body]) -> _Body:
    try:
        return msgspec.convert(asked.document, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        field = where.strip("`").removeprefix("$").removeprefix(".")
        place = f"{field}: " if field else ""
        raise Refusal(400, f"{place}{what}.", param=field) from error


def _load(asked: Asked, body: _Common, shape: Shape) -> None:
    """Ask nothing but whether the engine is there: such a request loads the model in Ollama."""
    asked.method, asked.path, asked.data, asked.document = "GET", "/health", b"", {}
    asked.translate = partial(Translated, _answer(body, shape), now, loaded=True)


def _ask(asked: Asked, body: _Common, document: dict[str, Any], shape: Shape) -> None:
    asked.document, asked.changed = document, True
    asked.translate = partial(Translated, _answer(body, shape), now)


def _answer(body: _Common, shape: Shape) -> Answer:
    return Answer(
        shape=shape,
        model=body.model or "",
        stream=body.streams,
        thinking=body.think is not False,
        began=now(),
    )


def _document(body: _Common) -> dict[str, Any]:
    """Return what chat completions and completions have in common."""
    document: dict[str, Any] = {"model": body.model or "", "stream": body.streams}
    if body.streams:
        document["stream_options"] = {"include_usage": True}
        document["return_progress"] = True
    document |= engine_fields(body.options or {})
    if body.think is not None and body.think is not True:
        if body.think not in _EFFORTS:
            words = 'must be true, false, "low", "medium", "high" or "max".'
            raise Refusal(400, f"think {words}", param="think")
        document["reasoning_effort"] = _EFFORTS[body.think]
    if body.logprobs:
        document["logprobs"] = True
        document["top_logprobs"] = body.top_logprobs or 0
    return document


def _schema(given: str | dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a `format`; None for "json", which is any object."""
    if isinstance(given, dict):
        return given
    if given == "json":
        return None
    raise Refusal(400, 'format must be "json" or a JSON schema.', param="format")


def _format_of_chat(body: _Common, document: dict[str, Any]) -> None:
    if not body.format:
        return
    if (schema := _schema(body.format)) is None:
        document["response_format"] = {"type": "json_object"}
    else:
        named = {"name": "format", "schema": schema}
        document["response_format"] = {"type": "json_schema", "json_schema": named}


def _messages(messages: list[_Message]) -> list[dict[str, Any]]:
    """Return OpenAI's messages; a call without an id gets one, and its result the same."""
    open_calls: list[tuple[str, str]] = []  # id and name of each that has no result yet
    made: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        entry: dict[str, Any] = {"role": message.role.lower(), "content": _content(message)}
        if message.thinking:
            entry["reasoning_content"] = message.thinking
        if message.tool_calls:
            entry["tool_calls"] = [
                _call(call, f"call_{number}_{index}")
                for index, call in enumerate(message.tool_calls)
            ]
            open_calls = [(each["id"], each["function"]["name"]) for each in entry["tool_calls"]]
        if entry["role"] == "tool":
            name = message.tool_name or ""
            known = [each for each in open_calls if name in ("", each[1])] or open_calls
            if known:
                open_calls.remove(known[0])
            entry["tool_call_id"] = message.tool_call_id or (known[0][0] if known else "call_0_0")
            if name:
                entry["name"] = name
        made.append(entry)
    return made


def _call(call: _Call, made_up: str) -> dict[str, Any]:
    given = call.function.arguments
    arguments = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or made_up, "type": "function", "function": function}


def _content(message: _Message) -> str | list[dict[str, Any]]:
    if not message.images:
        return message.content or ""
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in message.images
    ]
    if message.content:
        parts.append({"type": "text", "text": message.content})
    return parts


def _data_url(image: str) -> str:
    """Return base64 as a data URL; some clients send one already, addresses are none."""
    if image.startswith("data:"):
        return image
    if image[:8].lower().startswith(("http:", "https:", "file:")):
        words = "images takes pictures in base64, no addresses."
        raise Refusal(400, words, param="images")
    known = (mime for start, mime in _MIMES.items() if image.startswith(start))
    return f"data:{next(known, 'image/png')};base64,{image}"
