"""The engine's answer as Ollama's, while it arrives. Pure: the clock is passed in.

A stream is one JSON object a line; otherwise one object comes at the end. The last one says why the
answer ended and how long it took, in nanoseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from runner.chat.payloads import Payloads, TooLong
from runner.gateway.ollama.clock import Clock, stamp

Shape = Literal["message", "response"]
# An answer of a whole context with 20 alternatives to each token has less; an event far less.
_MOST_BYTES: Final = 64 << 20
# Line ends to Unicode, and to the clients that cut lines by its rules (httpx), not to JSON.
_LINE_ENDS: Final = tuple(
    (end.encode(), f"\\u{ord(end):04x}".encode()) for end in ("\x85", "\u2028", "\u2029")
)
_QUIET_S: Final = 5.0  # so often something is sent while nothing is to be said
_ENDED: Final = "The engine ended its answer before it was whole. Send the request again."
_GARBLED: Final = "The engine sent an answer that cannot be read. Send the request again."


@dataclass(frozen=True, slots=True)
class Answer:
    """How to answer one request.

    `shape`: "message" of /api/chat, "response" of /api/generate. `model`: the name that the client
    used, empty for the engine's. `thinking`: it is shown. `began`: when it was asked, in seconds
    since 1970.
    """

    shape: Shape
    model: str
    stream: bool
    thinking: bool
    began: float


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Timings(msgspec.Struct):
    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    model: str = ""
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: Any = None


@dataclass(slots=True)
class _Piece:
    """What one line of the answer says, or the whole one."""

    text: str = ""
    thinking: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()

    def add(self, other: "_Piece") -> None:
        self.text += other.text
        self.thinking += other.thinking
        self.calls += other.calls
        self.logprobs += other.logprobs


class Translated:
    """A `calls.Translator`. `loaded`: the engine is only asked whether it is there."""

    def __init__(self, answer: Answer, clock: Clock, *, loaded: bool = False) -> None:
        self.content_type = "application/x-ndjson" if answer.stream else "application/json"
        self._answer = answer
        self._model = answer.model
        self._clock = clock
        self._payloads = Payloads(_MOST_BYTES)
        self._decoder = msgspec.json.Decoder(_Chunk)
        self._said = _Piece()  # all of it, where it does not stream
        self._call: _Call | None = None  # the one whose arguments are arriving
        self._arguments: list[str] = []
        self._count = self._size = 0  # calls that are whole; bytes of one that is not
        self._reason = "load" if loaded else ""
        self._usage, self._timings = _Usage(), _Timings()
        self._loaded = loaded
        self._sent = clock()
        self._over = False

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; return the lines that it completes."""
        if self._over or self._loaded:
            return b""
        return self._lines(self._payloads.feed(data))

    def close(self) -> bytes:
        """Return the last line: how it ended, or that it did not."""
        lines = b"" if self._over or self._loaded else self._lines(self._payloads.close())
        return lines if self._over else lines + self._end()

    def _lines(self, payloads: Iterator[str]) -> bytes:
        """Return the lines for some chunks; a broken one ends the answer with words."""
        made: list[bytes] = []
        try:
            for payload in payloads:
                if payload.strip() != "[DONE]":
                    made.append(self._chunk(self._decoder.decode(payload)))
                if self._over:
                    break
        except (TooLong, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            made.append(self._fail(_GARBLED))
        return b"".join(made)

    def _chunk(self, chunk: _Chunk) -> bytes:
        if chunk.error:
            return self._fail(_words(chunk.error))
        self._model = self._model or chunk.model
        self._usage = chunk.usage or self._usage
        self._timings = chunk.timings or self._timings
        piece = _Piece()
        for choice in chunk.choices[:1]:
            self._reason = choice.finish_reason or self._reason
            piece = self._piece(choice)
        if not self._answer.stream:
            self._said.add(piece)
            return b""
        if piece == _Piece() and self._clock() - self._sent < _QUIET_S:
            return b""
        self._sent = self._clock()
        return self._line({**self._head(), **self._body(piece), "done": False})

    def _piece(self, choice: _Choice) -> _Piece:
        delta = choice.delta or choice.message or _Delta(content=choice.text)
        calls: list[dict[str, Any]] = []
        for call in delta.tool_calls or ():
            calls += self._take(call)
        if choice.finish_reason:
            calls += self._finished_call()
        return _Piece(
            delta.content or "",
            (delta.reasoning_content or "") if self._answer.thinking else "",
            tuple(calls),
            tuple((choice.logprobs and choice.logprobs.content) or ()),
        )

    def _take(self, call: _Call) -> Iterator[dict[str, Any]]:
        """Take a piece of a tool call; yield the one before it, which is whole then."""
        if self._call is None or call.index != self._call.index:
            yield from self._finished_call()
            self._call = call
        function = call.function or _Function()
        if self._call.function and function.name and not self._call.function.name:
            self._call.function.name = function.name
        self._size += len(function.arguments or "")
        if self._size > _MOST_BYTES:
            raise TooLong
        self._arguments.append(function.arguments or "")

    def _finished_call(self) -> Iterator[dict[str, Any]]:
        """Yield the call whose arguments have arrived; one that was cut off is left out."""
        call, text = self._call, "".join(self._arguments)
        self._call, self._arguments, self._size = None, [], 0
        if call is None or call.function is None:
            return
        try:
            arguments = msgspec.json.decode(text or "{}", type=dict[str, Any])
        except (ValueError, RecursionError):
            if self._reason == "length":
                return
            raise
        function = {"index": self._count, "name": call.function.name, "arguments": arguments}
        self._count += 1
        yield {**({"id": call.id} if call.id else {}), "function": function}

    def _end(self) -> bytes:
        if not self._reason:
            return self._fail(_ENDED)
        self._over = True
        body = self._body(self._said)
        if self._loaded:
            line = {**self._head(), **body, "done": True, "done_reason": self._reason}
        else:
            reason = "length" if self._reason == "length" else "stop"
            line = {**self._head(), **body, "done": True, "done_reason": reason, **self._took()}
        return self._line(line)

    def _fail(self, words: str) -> bytes:
        self._over = True
        return self._line({"error": words})

    def _head(self) -> dict[str, Any]:
        return {"model": self._model, "created_at": stamp(self._clock())}

    def _body(self, piece: _Piece) -> dict[str, Any]:
        fields: dict[str, Any] = {"thinking": piece.thinking} if piece.thinking else {}
        if piece.calls:
            fields["tool_calls"] = piece.calls
        more = {"logprobs": piece.logprobs} if piece.logprobs else {}
        if self._answer.shape == "message":
            return {"message": {"role": "assistant", "content": piece.text, **fields}, **more}
        return {"response": piece.text, **fields, **more}

    def _took(self) -> dict[str, int]:
        """Return counts and times; `load_duration` is what it waited beside the engine's work."""
        timings, usage = self._timings, self._usage
        total = max(0, _ns(self._clock() - self._answer.began))
        read, wrote = _ns(timings.prompt_ms / 1000), _ns(timings.predicted_ms / 1000)
        return {
            "total_duration": total,
            "load_duration": max(0, total - read - wrote),
            "prompt_eval_count": usage.prompt_tokens or timings.prompt_n + timings.cache_n,
            "prompt_eval_duration": read,
            "eval_count": usage.completion_tokens or timings.predicted_n,
            "eval_duration": wrote,
        }

    def _line(self, document: dict[str, Any]) -> bytes:
        data = msgspec.json.encode(document)
        for raw, escaped in _LINE_ENDS:
            data = data.replace(raw, escaped)
        return data + (b"\n" if self._answer.stream else b"")


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _words(error: object) -> str:
    """Return what an engine's error says, whichever shape it has."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("type")
    return error if isinstance(error, str) and error else _ENDED
