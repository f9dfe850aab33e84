"""llama_cpp.Llama, with the repairs of what touches the model."""

import contextlib
import ctypes
import json
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Final

import llama_cpp
from llama_cpp import llama_cpp as native
from llama_cpp import mtmd_cpp
from llama_cpp.llama_chat_format import MTMDChatHandler

OPEN: Final = "<think>\n"
TAGS: Final = ("<think>", "</think>", "<tool_call>", "</tool_call>")
_DEBUG, _CONTINUED = 1, 5  # <ggml.h>: enum ggml_log_level
_quiet = False


def _print(level: int, text: bytes, _data: object) -> None:
    """Print what the engine says, but for what it says at level debug: prompts are among it.

    llama_cpp's own printer takes debug for information, and errors for debug.
    """
    global _quiet  # noqa: PLW0603 - one engine, one log
    _quiet = _quiet if level == _CONTINUED else level == _DEBUG
    if not _quiet:
        sys.stderr.write(text.decode("utf-8", "replace"))
        sys.stderr.flush()


_log = native.llama_log_callback(_print)  # kept: the engine holds no reference to it
native.llama_log_set(_log, ctypes.c_void_p(0))
mtmd_cpp.mtmd_helper_log_set(_log, ctypes.c_void_p(0))


class VisionHandler(MTMDChatHandler):  # type: ignore[misc]  # no types are published
    """The model's own template, with pictures in their places."""

    on_gpu = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, use_gpu=self.on_gpu)

    def load_image(self, image_url: str) -> bytes:
        """Return a request's picture; llama_cpp itself would download URLs and open any file."""
        if not image_url.startswith("data:"):
            raise ValueError("a picture has to be in the request, as a data: URL")
        return bytes(super().load_image(image_url))

    @staticmethod
    def get_image_urls(messages: Any) -> list[str]:
        """Return the pictures of all messages; llama_cpp leaves out those that a tool returned."""
        contents = (message.get("content") for message in messages)
        parts = (part for content in contents if isinstance(content, list) for part in content)
        given = (part["image_url"] for part in parts if part["type"] == "image_url")
        return [each["url"] if isinstance(each, dict) else each for each in given]

    @classmethod
    def _convert_message_for_template(cls, message: Any, media_marker: str) -> dict[str, Any]:
        """Return a message with its pictures as marks in its text.

        As parts they would be texts of their own, and the template would part them from the words.
        A mark in the user's own words is not a picture: a zero-width letter breaks it.
        """

        def words(text: str) -> str:
            return text.replace(media_marker, f"{media_marker[0]}\u200b{media_marker[1:]}")

        content = message.get("content")
        if not isinstance(content, list):
            return {**message, "content": words(content)} if content else dict(message)
        joined = ""
        for part in content:
            text = media_marker if part["type"] == "image_url" else words(part["text"])
            apart = joined and media_marker not in {text, joined[-len(media_marker) :]}
            joined += (" " if apart else "") + text
        return {**message, "content": joined}


class Pieces(dict[int, bytes]):
    """The text of each token, kept once it was needed.

    llama_cpp asks for all of an answer anew with each of its tokens: at 10,000 tokens that takes
    20 ms each time. And it cannot read tokens longer than 32 bytes. Control tokens say nothing, but
    for the tags that a reader needs to take an answer apart.
    """

    def __init__(self, llama: Any) -> None:
        super().__init__()
        self._vocab = llama._model.vocab  # noqa: SLF001 - nothing public does it
        found = (llama.tokenize(tag.encode(), add_bos=False, special=True) for tag in TAGS)
        self._tags = {tokens[0] for tokens in found if len(tokens) == 1}

    def __missing__(self, token: int) -> bytes:
        """Ask for a token's text; twice where it is long."""
        size, tag = 32, token in self._tags
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = native.llama_token_to_piece(self._vocab, token, buffer, size, 0, tag)
            if needed >= 0:
                return self.setdefault(token, buffer.raw[:needed])
            size = -needed


class Llama(llama_cpp.Llama):  # type: ignore[misc]  # no types are published
    """A model that answers one request at a time."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, swa_full=False)
        self._window = native.llama_model_n_swa(self.model)
        self._forget = self._ctx.kv_cache_seq_rm
        self._ctx.kv_cache_seq_rm = self._forget_from
        self._asked = self._cached = 0
        self._sight: Any = settings.get("chat_handler")
        # The model's own template, where it has one: some are known to llama_cpp by sight.
        self._plain = self._chat_handlers.get("chat_template.default")
        if self._sight is not None:
            # Now, and not at the first picture: it may fail, and takes its memory.
            self._sight._init_mtmd_context(self)  # noqa: SLF001 - nothing public does it
        self.verbose = False  # it would print every prompt

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self)

    def detokenize(
        self,
        tokens: Sequence[int],
        prev_tokens: object = None,
        special: bool = False,  # noqa: FBT001, FBT002 - as llama_cpp has it
    ) -> bytes:
        """Return the text of tokens; `special`: that of control tokens too."""
        if special:
            return bytes(super().detokenize(tokens, prev_tokens, special))
        return b"".join(self._pieces[token] for token in tokens)

    def _forget_from(self, sequence: int, first: int, last: int) -> bool:
        """Drop the cache from `first` on; False where the rest would be useless."""
        if 0 < first < self.n_tokens:
            lowest = native.llama_memory_seq_pos_min(native.llama_get_memory(self.ctx), 0)
            if self._window and lowest > max(0, first - self._window):
                return False
        if self._cached < 0:  # the first time after a request says what is used again
            self._cached = first
        return bool(self._forget(sequence, first, last))

    def reset(self) -> None:
        """Forget the processed tokens."""
        super().reset()
        # A picture leaves no tokens here: what lay in its place must not pass for a prompt.
        self.input_ids.fill(-1)

    def create_chat_completion(
        self,
        *,
        reasoning_effort: str | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        stream_options: dict[str, Any] | None = None,
        **request: Any,
    ) -> Any:
        """Answer, with the request's own words for the template."""
        words = {"reasoning_effort": reasoning_effort} if reasoning_effort else {}
        words |= chat_template_kwargs or {}
        request["messages"] = [_opened_calls(message) for message in request["messages"]]
        pictures = any(map(_has_picture, request["messages"]))
        if pictures and self._sight is None:
            raise ValueError("image input is not supported: the server has no mmproj")
        handler = self._sight if pictures else self._plain
        self.chat_handler = partial(handler, **words) if handler else None
        began = time.monotonic()
        answer = super().create_chat_completion(**request)
        if request.get("stream") and (stream_options or {}).get("include_usage"):
            return self._with_usage(answer, began)
        return answer

    def create_completion(self, prompt: Any, **request: Any) -> Any:
        """Answer a prompt that has been made of tokens, or of text."""
        pictures = isinstance(prompt, list) and -1 in prompt
        self._asked, self._cached = len(prompt), 0 if pictures else -1
        answer = super().create_completion(prompt, **request)
        if isinstance(prompt, str) or request.get("grammar") is not None:
            return answer
        end = self._model.detokenize([token for token in prompt[-8:] if token >= 0], True)
        if not end.rstrip().endswith(OPEN.strip().encode()):
            return answer
        if request.get("stream"):
            return _opened(answer)
        _open(answer)
        return answer

    def _with_usage(self, chunks: Iterator[Any], began: float) -> Iterator[Any]:
        first, reason, chunk = 0.0, None, {}
        for chunk in chunks:
            choice = chunk["choices"][0]
            first = first or ("content" in choice["delta"] and time.monotonic())
            reason = choice["finish_reason"]
            yield chunk
        # The last token of an answer that was cut short has not been computed any more.
        generated = max(0, self.n_tokens - self._asked + (reason == "length"))
        now = time.monotonic()
        first = first or now
        yield {
            **chunk,
            "choices": [],
            "usage": {
                "prompt_tokens": self._asked,
                "completion_tokens": generated,
                "total_tokens": self._asked + generated,
                "prompt_tokens_details": {"cached_tokens": self._cached},
            },
            "timings": {
                "prompt_per_second": _rate(self._asked - self._cached, first - began),
                "predicted_per_second": _rate(generated - 1, now - first),
            },
        }


def _opened_calls(message: Any) -> Any:
    """Return a message whose calls have their arguments as what they say: templates go by name."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    opened = []
    for call in calls:
        function = call["function"]
        with contextlib.suppress(ValueError):
            function = {**function, "arguments": json.loads(function["arguments"])}
        opened.append({**call, "function": function})
    return {**message, "tool_calls": opened}


def _has_picture(message: Any) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part["type"] == "image_url" for part in content)


def _rate(count: int, seconds: float) -> float:
    return max(0, count) / seconds if seconds > 0 else 0.0


def _open(completion: Any) -> None:
    """Write down that thinking has begun: the prompt ended with it."""
    choice = completion["choices"][0]
    choice["text"] = OPEN + choice["text"]


def _opened(chunks: Iterator[Any]) -> Iterator[Any]:
    for number, chunk in enumerate(chunks):
        if not number:
            _open(chunk)
        yield chunk
