"""Mixed requests of agents and people, drawn from a seed. Pure."""

import base64
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from PIL import Image

Api = Literal["chat", "responses", "messages", "ollama"]
CANCELLED: Final = 0.15  # of the requests
_WORDS: Final = ("the", "sea", "is", "wide", "and", "boats", "are", "small", "but", "wind", "today")
_CITY: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
_TOOL: Final = {"name": "get_weather", "description": "The weather in a city."}
_FORMATS: Final = ("png", "jpeg", "webp", "gif")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `cancel_s`: the client hangs up after so long; None: it waits."""

    kind: str
    api: Api
    path: str
    body: dict[str, Any]
    cancel_s: float | None = None

    @property
    def stream(self) -> bool:
        """Whether the answer comes piece by piece."""
        return bool(self.body.get("stream"))


def pictures(seed: int) -> tuple[tuple[str, str], ...]:
    """Return a few pictures, each as media type and base64."""
    chance = random.Random(seed)  # noqa: S311 - a load that can be repeated
    made = []
    for kind in _FORMATS:
        size = (chance.randint(40, 500), chance.randint(40, 500))
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        out = io.BytesIO()
        Image.new("RGB", size, colour).save(out, kind)
        made.append((f"image/{kind}", base64.b64encode(out.getvalue()).decode()))
    return tuple(made)


class Load:
    """Draws requests. `ollama`: its API is among them."""

    def __init__(self, seed: int, *, ollama: bool, sees: bool) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - as above
        self._pictures = pictures(seed)
        makers: list[Callable[[], Ask]] = [
            self._chat,
            self._chat,
            self._chat_tools,
            self._completion,
            self._responses,
            self._messages,
            self._messages_tools,
            self._count,
        ]
        if sees:
            makers += [self._chat_picture, self._messages_picture, self._responses_picture]
        if ollama:
            makers += [self._ollama_chat, self._ollama_generate]
        self._makers = makers

    def draw(self) -> Ask:
        """Return the next request."""
        ask = self._chance.choice(self._makers)()
        if self._chance.random() >= CANCELLED:
            return ask
        after = self._chance.choice((0.01, 0.1, 0.5, 1.5))
        return Ask(ask.kind, ask.api, ask.path, ask.body, after)

    def _text(self) -> str:
        length = self._chance.choice((3, 10, 40, 150))
        return " ".join(self._chance.choices(_WORDS, k=length))

    def _limits(self, name: str = "max_tokens") -> dict[str, Any]:
        return {
            "model": "any",
            name: self._chance.choice((1, 16, 60, 150, 600)),
            "stream": self._chance.random() < 0.6,
        }

    def _picture(self) -> tuple[str, str]:
        return self._chance.choice(self._pictures)

    def _chat(self) -> Ask:
        messages: list[dict[str, Any]] = [{"role": "user", "content": self._text()}]
        if self._chance.random() < 0.5:
            messages.insert(0, {"role": "system", "content": self._text()})
        body = {**self._limits(), "messages": messages}
        return Ask("chat", "chat", "/v1/chat/completions", body)

    def _chat_tools(self) -> Ask:
        messages = [{"role": "user", "content": "What is the weather in Paris?"}]
        tools = [{"type": "function", "function": {**_TOOL, "parameters": _CITY}}]
        choice = self._chance.choice(("auto", "required"))
        body = {**self._limits(), "messages": messages, "tools": tools, "tool_choice": choice}
        return Ask("chat, tools", "chat", "/v1/chat/completions", body)

    def _chat_picture(self) -> Ask:
        media, data = self._picture()
        content = [
            {"type": "text", "text": self._text()},
            {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}},
        ]
        body = {**self._limits(), "messages": [{"role": "user", "content": content}]}
        return Ask("chat, picture", "chat", "/v1/chat/completions", body)

    def _completion(self) -> Ask:
        return Ask(
            "completion", "chat", "/v1/completions", {**self._limits(), "prompt": self._text()}
        )

    def _responses(self) -> Ask:
        body = {**self._limits("max_output_tokens"), "input": self._text(), "store": False}
        return Ask("responses", "responses", "/v1/responses", body)

    def _responses_picture(self) -> Ask:
        media, data = self._picture()
        content = [
            {"type": "input_text", "text": self._text()},
            {"type": "input_image", "image_url": f"data:{media};base64,{data}"},
        ]
        body = {
            **self._limits("max_output_tokens"),
            "input": [{"role": "user", "content": content}],
        }
        return Ask("responses, picture", "responses", "/v1/responses", body)

    def _messages(self) -> Ask:
        body = {**self._limits(), "messages": [{"role": "user", "content": self._text()}]}
        return Ask("messages", "messages", "/v1/messages", body)

    def _messages_tools(self) -> Ask:
        messages = [{"role": "user", "content": "What is the weather in Paris?"}]
        tools = [{**_TOOL, "input_schema": _CITY}]
        return Ask(
            "messages, tools",
            "messages",
            "/v1/messages",
            {**self._limits(), "messages": messages, "tools": tools},
        )

    def _messages_picture(self) -> Ask:
        media, data = self._picture()
        source = {"type": "base64", "media_type": media, "data": data}
        content = [{"type": "image", "source": source}, {"type": "text", "text": self._text()}]
        body = {**self._limits(), "messages": [{"role": "user", "content": content}]}
        return Ask("messages, picture", "messages", "/v1/messages", body)

    def _count(self) -> Ask:
        body = {"model": "any", "messages": [{"role": "user", "content": self._text()}]}
        return Ask("count_tokens", "messages", "/v1/messages/count_tokens", body)

    def _ollama_chat(self) -> Ask:
        body = {
            "model": "any",
            "messages": [{"role": "user", "content": self._text()}],
            "stream": self._chance.random() < 0.6,
            "options": {"num_predict": self._chance.choice((1, 16, 200))},
        }
        return Ask("ollama chat", "ollama", "/api/chat", body)

    def _ollama_generate(self) -> Ask:
        body = {
            "model": "any",
            "prompt": self._text(),
            "stream": self._chance.random() < 0.6,
            "options": {"num_predict": self._chance.choice((1, 16, 200))},
        }
        return Ask("ollama generate", "ollama", "/api/generate", body)
