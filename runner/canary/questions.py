"""Sends requests to an engine, and compares its answers."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final, Self

import httpx2

from runner.base.errors import SteprunError
from runner.chat import client, wire
from runner.chat.events import Failed, Reasoning, Text, ToolCall
from runner.chat.images.load import picture_from_bytes
from runner.chat.refusals import server_error
from runner.chat.wire import Message, Options, Picture
from runner.engine.installed.stamp import Kind
from runner.net.endpoint import Endpoint
from runner.net.http import async_client

REPLY_BYTES: Final = 4 << 20  # the longest real one, 288 tokens with their odds, is 150 kB
# Where the best two tokens are so near to each other (in nats), another order of adding may choose
# the other one: a prompt processed at once and one in parts differed by up to 0.21 in the embedded
# engine, two builds of llama.cpp by 0.02.
TIE: Final = 0.3
_FOREVER: Final = httpx2.Timeout(None)  # `rounds.Limits` ends what takes too long


class Fault(Exception):  # noqa: N818 - it is a finding, not an error of this program
    """The engine answers, but wrongly: one line that says how."""


class Absent(Exception):  # noqa: N818 - as above
    """The engine has no such thing: one line that says where that shows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a chat would show of an answer: thinking, text, and calls of tools."""

    thinking: str
    text: str
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """An answer token by token, and what it took.

    `gaps`: by how much each token led the next best, in nats; infinite where the engine does not
    say. `prompt` counts its tokens, `cached` those that were taken from the cache; `drafted` those
    that draft heads guessed, `accepted` those that they guessed right.
    """

    tokens: tuple[str, ...]
    gaps: tuple[float, ...]
    prompt: int
    cached: int
    drafted: int
    accepted: int = 0

    @property
    def text(self) -> str:
        """The answer as it was written, tags and all."""
        return "".join(self.tokens)

    def first(self, count: int) -> Self:
        """Return the beginning of the answer."""
        return replace(self, tokens=self.tokens[:count], gaps=self.gaps[:count])

    def same(self, other: Self) -> bool:
        """Tell whether another answer is the same, up to a choice that was nearly a tie here."""
        pairs = zip(self.tokens, other.tokens, self.gaps, strict=False)
        for ours, theirs, gap in pairs:
            if ours != theirs:
                return gap < TIE
        return len(self.tokens) == len(other.tokens)


@dataclass(frozen=True, slots=True)
class Talk:
    """One engine that answers.

    `seen`: its answers to compare others with, also before a restart: those without draft heads, to
    a picture (True) or to texts, and those to whole conversations, by name.
    """

    endpoint: Endpoint
    kind: Kind
    seen: dict[bool | str, list[Tokens]] = field(default_factory=dict)

    async def chat(self, text: str | Message, max_tokens: int, **options: Any) -> Answer:
        """Ask as a chat does; `options` are those of `wire.Options`."""
        message = text if isinstance(text, Message) else Message("user", text)
        chosen = Options(temperature=0.0, max_tokens=max_tokens, **options)
        thinking, answer, calls = "", "", dict[int, ToolCall]()
        async for event in client.stream(self.endpoint, [message], chosen):
            match event:
                case Reasoning(piece):
                    thinking += piece
                case Text(piece):
                    answer += piece
                case ToolCall(index, id_, name, arguments):
                    before = calls.get(index, ToolCall(index))
                    calls[index] = ToolCall(
                        index, before.id + id_, before.name + name, before.arguments + arguments
                    )
                case Failed(error):
                    raise error
        return Answer(thinking, answer, tuple(calls.values()))

    async def tokens(self, messages: str | Sequence[Message], count: int, **fields: Any) -> Tokens:
        """Ask for exactly `count` tokens, the likeliest ones; `fields` go into the request."""
        if isinstance(messages, str):
            messages = [Message("user", messages)]
        chosen = Options(temperature=0.0, max_tokens=count, effort=fields.pop("effort", None))
        body = wire.request_body(messages, chosen)
        body |= {"stream": False, "ignore_eos": True, **fields}
        del body["stream_options"], body["return_progress"]
        if self.kind is not Kind.PYTHON:  # which keeps no odds unless it was started so
            body |= {"logprobs": True, "top_logprobs": 2}
        return _tokens(await self.post("/v1/chat/completions", body))

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send JSON, return JSON. Raises SteprunError with the engine's own message."""
        try:
            async with (
                async_client(_FOREVER, self.endpoint, headers=self.endpoint.headers()) as http,
                http.stream("POST", f"{self.endpoint.base_url}{path}", json=body) as response,
            ):
                raw = b""
                async for chunk in response.aiter_bytes():
                    raw += chunk
                    if len(raw) > REPLY_BYTES:
                        raise Fault(f"It answers with more than {REPLY_BYTES >> 20} MiB.")
        except httpx2.HTTPError as error:
            raise SteprunError(f"The connection was lost ({type(error).__name__}).") from error
        reply: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            reply = json.loads(raw)
        if response.status_code in {404, 501}:
            raise Absent(f"It answers {response.status_code} to {path.partition('?')[0]}.")
        if response.status_code != 200:
            raise server_error(response.status_code, reply)
        if not isinstance(reply, dict):
            raise Fault(f"It answers {raw[:40]!r} instead of JSON.")
        return reply


def _tokens(reply: Mapping[str, Any]) -> Tokens:
    try:
        choice, usage = reply["choices"][0], reply["usage"]
        timings = reply.get("timings") or {}
        rows = (choice.get("logprobs") or {}).get("content") or []
        tokens = tuple(str(row["token"]) for row in rows) or _words(choice["message"])
        return Tokens(
            tokens=tokens,
            gaps=tuple(_gap(row["top_logprobs"]) for row in rows) or (inf,) * len(tokens),
            prompt=int(usage["prompt_tokens"]),
            cached=int(
                (usage.get("prompt_tokens_details") or {}).get(
                    "cached_tokens", timings.get("cache_n", 0)
                )
            ),
            drafted=int(timings.get("draft_n", 0)),
            accepted=int(timings.get("draft_n_accepted", 0)),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Fault("Its answer is not a chat completion.") from error


def _words(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an answer in pieces, where the engine does not say what its tokens were."""
    text = str(message.get("reasoning_content") or "") + str(message.get("content") or "")
    return tuple(piece for word in text.split(" ") for piece in (" ", word))[1:]


def _gap(best: Sequence[Mapping[str, Any]]) -> float:
    """Return by how much the best token led; draft heads leave no odds behind."""
    if len(best) < 2:
        return inf
    return abs(float(best[0]["logprob"]) - float(best[1]["logprob"]))


def picture(width: int, height: int, colour: str, stripe: str) -> Picture:
    """Make a picture: a colour with a broad stripe of another across it."""
    from PIL import Image  # noqa: PLC0415 - 60 ms, only where pictures are tested

    image = Image.new("RGB", (width, height), colour)
    image.paste(stripe, (width // 3, 0, width * 2 // 3, height))
    out = io.BytesIO()
    image.save(out, "PNG")
    return picture_from_bytes(out.getvalue(), f"{colour}.png")
