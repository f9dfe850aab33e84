"""The dialects of OpenAI-compatible servers, in and out. Pure: dicts and events, no I/O.

llama-server calls reasoning `reasoning_content`, vLLM `reasoning`; llama-server reports prompt
progress and timings. Everything that differs between servers is known here and nowhere else.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.text import clean
from runner.chat.events import (
    Event,
    Failed,
    Finished,
    PromptProgress,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)

Role = Literal["system", "user", "assistant"]
EFFORTS = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image ready to be sent: PNG or JPEG bytes that the engine can decode.

    `width` and `height` in pixels as sent; `tokens`: its cost in a Step prompt.
    """

    name: str
    mime: str
    data: bytes
    width: int
    height: int
    tokens: int

    def data_url(self) -> str:
        """Return the picture as a data URL."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `reasoning` is shown and not sent back: the template drops it."""

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer. None leaves a choice to the server.

    `extra`: further fields of the request's body, as they are (`tools`).
    """

    effort: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    model: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


def request_body(messages: Sequence[Message], options: Options) -> dict[str, Any]:
    """Return the body of a streamed chat completion."""
    body: dict[str, Any] = {
        "messages": [_message(message) for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }
    if options.model:
        body["model"] = options.model
    if options.effort is not None:
        # The template reads it; llama-server takes it at the top level, vLLM in the kwargs.
        body["reasoning_effort"] = options.effort
        body["chat_template_kwargs"] = {"reasoning_effort": options.effort}
    if options.max_tokens is not None:
        body["max_tokens"] = options.max_tokens
    if options.temperature is not None:
        body["temperature"] = options.temperature
    return {**body, **options.extra}


def _message(message: Message) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": picture.data_url()}}
        for picture in message.pictures
    ]
    if message.text:
        parts.append({"type": "text", "text": message.text})
    return {"role": message.role, "content": parts}


def parse_chunk(data: str) -> Iterator[Event]:
    """Turn one server-sent event's data into events. What is not understood is skipped.

    Raises SteprunError where the data is not JSON at all: the server is not what it seems.
    """
    if data.strip() == "[DONE]" or not data.strip():
        return
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise garbled(data) from error
    if not isinstance(chunk, dict):
        raise garbled(data)
    if chunk.get("error"):  # some servers send `"error": null` with every chunk
        yield Failed(server_error(0, chunk))
        return
    progress = mapping(chunk.get("prompt_progress"))
    if progress:
        yield PromptProgress(
            done=integer(progress.get("processed")),
            total=integer(progress.get("total")),
            cached=integer(progress.get("cache")),
        )
    choices = chunk.get("choices")
    choice = mapping(choices[0]) if isinstance(choices, list) and choices else {}
    yield from _delta(mapping(choice.get("delta")))
    usage, timings = mapping(chunk.get("usage")), mapping(chunk.get("timings"))
    if usage or (timings and choice.get("finish_reason")):
        yield _usage(usage, timings)
    reason = choice.get("finish_reason")
    if isinstance(reason, str):
        yield Finished(reason)


def _delta(delta: Mapping[str, Any]) -> Iterator[Event]:
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield Reasoning(reasoning)
    text = delta.get("content")
    if isinstance(text, str) and text:
        yield Text(text)
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        call = mapping(call)  # noqa: PLW2901 - the same thing, made safe
        function = mapping(call.get("function"))
        yield ToolCall(
            index=integer(call.get("index")),
            id=str(call.get("id") or ""),
            name=str(function.get("name") or ""),
            arguments=str(function.get("arguments") or ""),
        )


def _usage(usage: Mapping[str, Any], timings: Mapping[str, Any]) -> Usage:
    details = mapping(usage.get("prompt_tokens_details"))
    cached = integer(details.get("cached_tokens", timings.get("cache_n")))
    # llama-server's `prompt_n` counts what was prefilled now; the rest was in the KV cache.
    prompt = usage.get("prompt_tokens", integer(timings.get("prompt_n")) + cached)
    return Usage(
        prompt_tokens=integer(prompt),
        cached_tokens=cached,
        completion_tokens=integer(usage.get("completion_tokens", timings.get("predicted_n"))),
        prefill_tps=number(timings.get("prompt_per_second")),
        decode_tps=number(timings.get("predicted_per_second")),
        drafted=integer(timings.get("draft_n")),
        accepted=integer(timings.get("draft_n_accepted")),
    )


def server_error(status: int, body: Any) -> SteprunError:
    """Return the error of a refused request.

    `status`: the HTTP status, 0 in the middle of a stream. `body`: the parsed reply.
    """
    reported = mapping(body).get("error")
    error = mapping(reported)
    if not isinstance(reported, str):
        reported = error.get("message") or mapping(body).get("detail")
    message = clean(str(reported or "")).strip()[:500]
    kind = str(error.get("type") or "")
    if kind == "exceed_context_size_error" or "context size" in message:
        return Refused(
            "The conversation no longer fits the context.",
            why=message,
            next="Start a new chat (/new), or restart with a larger context: --ctx N",
        )
    if status in {401, 403}:
        return Refused(
            "The server requires an API key.",
            why=message or f"It answered {status}.",
            next="Name the file that holds it: --api-key-file FILE",
        )
    if "image" in message and ("support" in message or "mmproj" in message):
        return Refused(
            "This model cannot see images.",
            why=message,
            next="Send text only, or choose a model with a vision encoder: steprun models",
        )
    if status == 400:
        return UsageError(
            "The server refused the request.",
            why=message,
            next="Change the question or the options.",
        )
    return SteprunError(
        f"The server failed{f' with status {status}' if status else ' during the answer'}.",
        why=message or "It gave no reason.",
        next="Try again; if it fails again: steprun doctor",
    )


def garbled(data: str) -> SteprunError:
    """Return the error of an answer that is not a chat completion."""
    return SteprunError(
        "The server's answer cannot be understood.",
        why=f"It sent {data[:80]!r} instead of a chat completion.",
        next="Check that the URL is that of an OpenAI-compatible server.",
    )


def mapping(value: object) -> Mapping[str, Any]:
    """Return an untrusted value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: object) -> float:
    """Return an untrusted value if it is a number from 0 to 2^53, else 0."""
    return value if isinstance(value, int | float) and 0 <= value < 1 << 53 else 0


def integer(value: object) -> int:
    """Return `number`, rounded down."""
    return int(number(value))
