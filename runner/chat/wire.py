"""The dialects of OpenAI-compatible servers, in and out. Pure: dicts and events, no I/O.

llama-server calls reasoning `reasoning_content`, vLLM `reasoning`; llama-server reports prompt
progress and timings. What an answer may look like is known here and nowhere else; what may be sent
to which server, `dialect` knows.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Final, Literal

from runner.chat.dialect import LLAMA_SERVER, Dialect
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
from runner.chat.refusals import ended_answer, garbled, server_error
from runner.chat.untrusted import integer, mapping, number

Role = Literal["system", "user", "assistant", "tool"]
_ID_CHARS: Final = 200  # of an answer; llama-server's have 41
_NESTED: Final = 4  # levels of parts in an answer
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
class Call:
    """A call that the model made. `arguments`: a JSON text as the model wrote it, not trusted."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    `reasoning` of an assistant goes back only to a server whose template reads it
    (`Dialect.thoughts`). `calls`: what an assistant called. `answers`: the ID of the call whose
    result this is, where the role is "tool".
    """

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Prefill:
    """The beginning of an answer, behind which the server writes on.

    `answers`: the thinking is over, whether the model was done with it or not.
    """

    reasoning: str = ""
    text: str = ""
    answers: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of the body that make llama-server write on."""
        # The template puts blank lines around the thinking: two more would be read as an end.
        thought = self.reasoning.strip() if self.text or self.answers else self.reasoning
        words = {"content": self.text, **({"reasoning_content": thought} if thought else {})}
        thinking = thought and not (self.text or self.answers)
        return {
            "messages": [{"role": "assistant", **words}],
            "continue_final_message": "reasoning_content" if thinking else "content",
            "add_generation_prompt": False,
        }


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer. None leaves a choice to the server.

    `thinking_cap`: tokens of thinking, 0 for none. `controlled`: the thinking can be ended while it
    goes on (see `runner.chat.control`). `prefill`: what of the answer is there already. `extra`:
    further fields of the request's body, as they are (`tools`).
    """

    effort: str | None = None
    max_tokens: int | None = None
    thinking_cap: int | None = None
    controlled: bool = False
    prefill: Prefill | None = None
    temperature: float | None = None
    model: str = ""
    dialect: Dialect = LLAMA_SERVER
    extra: Mapping[str, Any] = field(default_factory=dict)


def request_body(
    messages: Sequence[Message], options: Options, url: Callable[[Picture], str] = Picture.data_url
) -> dict[str, Any]:
    """Return the body of a streamed chat completion; `url` is what stands for a picture."""
    body: dict[str, Any] = {
        "messages": list(_messages(messages, options.dialect, url)),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if options.dialect.progress:
        body["return_progress"] = True
    if options.model:
        body["model"] = options.model
    if options.effort is not None:
        body["reasoning_effort"] = options.effort
        if options.dialect.template:
            body["chat_template_kwargs"] = {"reasoning_effort": options.effort}
    if options.max_tokens is not None:
        body["max_tokens"] = options.max_tokens
    if options.temperature is not None:
        body["temperature"] = options.temperature
    if options.thinking_cap is not None and options.dialect.thinking_cap:
        body[options.dialect.thinking_cap] = options.thinking_cap
    if options.controlled and options.dialect.control:
        body["reasoning_control"] = True
    if options.prefill is not None:
        fields = options.prefill.fields()
        body |= {**fields, "messages": [*body["messages"], *fields["messages"]]}
    return {**body, **options.extra}


def simpler_body(body: Mapping[str, Any], status: int, reply: Any) -> dict[str, Any] | None:
    """Return a body without the fields that a strict server has just refused; None where it has.

    Never without the reasoning effort, which the user asked for: that refusal is shown.
    """
    complaint = json.dumps(reply)[:20_000]
    if "tools" in body and status in _NO_TOOLS and _TOOLS.search(complaint):
        return {key: value for key, value in body.items() if key != "tools"}
    if status not in {400, 422}:
        return None
    if "max_completion_tokens" in complaint and "max_tokens" in body:
        rest = {key: value for key, value in body.items() if key != "max_tokens"}
        return {**rest, "max_completion_tokens": body["max_tokens"]}
    refused = {key for key in _OPTIONAL if key in body and key in complaint}
    if not refused:
        return None
    return {key: value for key, value in body.items() if key not in refused}


_OPTIONAL: Final = (
    *("stream_options", "return_progress", "chat_template_kwargs", "reasoning_control"),
    *("thinking_budget_tokens", "thinking_token_budget"),
)
# How servers refuse tools: Ollama (400, "does not support tools"), vLLM without its option (400,
# '"auto" tool choice requires ...'), llama-server without --jinja (500, "tools param requires"),
# OpenRouter (404, "No endpoints found that support tool use").
_NO_TOOLS: Final = frozenset({400, 404, 422, 500, 501})
_TOOLS: Final = re.compile(
    r"\btools\b|tool[ _-](?:choice|use|call)|function[ _-]call", re.IGNORECASE
)
PICTURES_FOLLOW: Final = "The pictures that the tools returned:"


def _messages(
    messages: Sequence[Message], dialect: Dialect, url: Callable[[Picture], str]
) -> Iterator[dict[str, Any]]:
    """Yield messages as they are sent.

    Where a tool's message can have no pictures, they follow the round's results as a user's.
    """
    follow: list[Picture] = []
    for message, after in zip_longest(messages, messages[1:]):
        if message.role != "tool" or dialect.tool_pictures:
            yield _message(message, dialect, url)
            continue
        yield _message(replace(message, pictures=()), dialect, url)
        follow += message.pictures
        if follow and (after is None or after.role != "tool"):
            yield _message(Message("user", PICTURES_FOLLOW, tuple(follow)), dialect, url)
            follow = []


def _message(message: Message, dialect: Dialect, url: Callable[[Picture], str]) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.pictures:
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": url(picture)}}
            for picture in message.pictures
        ]
        if message.text:
            # A result's words say what its picture is: with them first, the trained tiny Step read
            # 12 of 12 enlarged numbers, with them last 9.
            at = 0 if message.role == "tool" else len(parts)
            parts.insert(at, {"type": "text", "text": message.text})
        sent["content"] = parts
    if message.role == "tool":
        sent["tool_call_id"] = message.answers
    if message.reasoning and dialect.thoughts:
        sent[dialect.thoughts] = message.reasoning
    if message.calls:
        sent["tool_calls"] = [_call(call) for call in message.calls]
    return sent


def _call(call: Call) -> dict[str, Any]:
    """Return a call as it is sent back: servers refuse a whole chat for one that is malformed."""
    arguments = call.arguments if arguments_of(call.arguments) is not None else "{}"
    name = _NAME.sub("_", call.name)[:64] or "tool"
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments}}


_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")  # what OpenAI's names of functions do not have


def arguments_of(text: str) -> dict[str, Any] | None:
    """Return the arguments of a call, which are not trusted; None where they are no JSON object.

    No text counts as no arguments. What only Python takes for JSON (NaN, half a character, a
    number without bound) does not count: the engine parses it again, and would refuse the chat.
    """
    try:
        found = json.loads(text) if text.strip() else {}
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def answer_id(data: str) -> str:
    """Return what the server calls the answer that an event belongs to, empty where it does not."""
    try:
        found = mapping(json.loads(data)).get("id")
    except (ValueError, RecursionError):
        return ""
    return found if isinstance(found, str) and len(found) <= _ID_CHARS else ""


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
    choices = chunk.get("choices")
    choice = mapping(choices[0]) if isinstance(choices, list) and choices else {}
    delta = mapping(choice.get("delta") or choice.get("message") or chunk.get("message"))
    if is_error(chunk):  # some servers send `"error": null` with every chunk
        yield from _delta(delta)
        yield Failed(ended_answer(chunk) or server_error(0, chunk))
        return
    progress = mapping(chunk.get("prompt_progress"))
    if progress:
        yield PromptProgress(
            done=integer(progress.get("processed")),
            total=integer(progress.get("total")),
            cached=integer(progress.get("cache")),
            read_s=number(progress.get("time_ms")) / 1000,
        )
    yield from _delta(delta or {"content": choice.get("text")})
    usage, timings = mapping(chunk.get("usage")), mapping(chunk.get("timings"))
    if usage or (timings and choice.get("finish_reason")):
        yield _usage(usage, timings)
    reason = choice.get("finish_reason") or (chunk.get("done") is True and chunk.get("done_reason"))
    if isinstance(reason, str) and reason:
        yield from _end(reason)


def is_error(chunk: Mapping[str, Any]) -> bool:
    """Tell whether a chunk reports an error: OpenAI's form, vLLM's older one or a framework's."""
    reported = chunk.get("error") or chunk.get("object") == "error" or chunk.get("type") == "error"
    framework = "choices" not in chunk and ("detail" in chunk or "code" in chunk)
    return bool(reported or framework)


_REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("eos", "eos_token", "stop_sequence", "end_turn", "completed", "done"), "stop"),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "model_length", "limit"), "length"),
    **dict.fromkeys(("function_call", "tool_use"), "tool_calls"),
    **dict.fromkeys(("safety", "content-filter", "sensitive", "refusal"), "content_filter"),
}


def _end(reason: str) -> Iterator[Event]:
    """Yield the end of an answer; every server has its own words for it."""
    known = _REASONS.get(reason.lower(), reason.lower() if reason.isupper() else reason)
    if known in {"error", "abort", "network_error"}:
        yield Failed(server_error(0, {"error": f'The server ended the answer with "{known}".'}))
    else:
        yield Finished(known)


_THOUGHTS: Final = (
    *("reasoning_content", "reasoning", "thinking", "reasoning_text", "thought"),
    "reasoning_details",
)


def _delta(delta: Mapping[str, Any]) -> Iterator[Event]:
    # A server that sends its reasoning under two names sends it twice.
    reasoning = next((words for name in _THOUGHTS if (words := _words(delta.get(name)))), "")
    if reasoning:
        yield Reasoning(reasoning)
    content = delta.get("content")
    for part in content if isinstance(content, list) else [content]:
        kind = str(mapping(part).get("type") or "")
        words = _words(part)
        if not words:
            continue
        if kind.startswith(("thinking", "reasoning", "thought")):
            if not reasoning:
                yield Reasoning(words)
        else:
            yield Text(words)
    if words := _words(delta.get("refusal")):
        yield Text(words)
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


def _words(value: object, depth: int = 0) -> str:
    """Return the text in a piece of an answer: a string, an object with one, or a list of them."""
    if isinstance(value, str):
        return value
    if depth > _NESTED or not isinstance(value, dict | list):
        return ""
    if isinstance(value, list):
        return "".join(_words(each, depth + 1) for each in value)
    found = (value.get(key) for key in ("text", "thinking", "reasoning", "summary", "content"))
    return next((words for each in found if (words := _words(each, depth + 1))), "")


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
