"""What the prompt of a request consists of: parts in the order in which the model reads them. Pure.

The same conversation has the same parts in every API. The order, and what an earlier answer's
thinking comes to, are those of Step's chat template: its effort, the system prompt, the tools, the
messages. Thinking is part of the prompt only after the last question: there it was just now before
the call of a tool. Where another model's template has another order, a wrong cache may be chosen;
the engine compares tokens, so that costs time only.
"""

import json
import re
import struct
from binascii import Error, a2b_base64
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

from runner.chat.images.tokens import OVERVIEW_TOKENS, image_tokens
from runner.gateway.aside import Aside
from runner.gateway.calls import Asked
from runner.gateway.prompts.conversation import (
    Dialogue,
    ShownPicture,
    Spoken,
    from_chat,
    from_messages,
    from_responses,
)
from runner.kv.prompt import HASH_BYTES, Part, Prompt, part, picture

TOKEN_CHARACTERS: Final = 4  # about, in English and in code
# What has more is longer than the longest context of 262,144 tokens, or no conversation: it is not
# worth the time.
MOST_CHARACTERS: Final = 4 << 20
MOST_PARTS: Final = 4096
_NAME: Final = re.compile(r"[\w.:/-]{1,64}", re.ASCII)  # one that can be shown to people
_PNG: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_HEAD: Final = 32  # characters of base64 that hold a PNG's width and height
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}  # as the engine completes it
_NAMES: Final = {"reasoning_effort": "reasoning effort"}
_READERS: Final[dict[str, Callable[[dict[str, Any]], Dialogue]]] = {
    "/v1/chat/completions": from_chat,
    "/v1/responses": from_responses,
    "/v1/messages": from_messages,
}


def prompt_of(asked: Asked) -> Prompt | None:
    """Return the prompt of a request whose body was accepted.

    None where there is none, where it is more than one or too long, or where it cannot be known, as
    for /infill. Call it before pictures are replaced in the document.
    """
    turns = asked.document.get("messages") or asked.document.get("input") or ()
    if asked.method != "POST" or (isinstance(turns, list) and len(turns) > MOST_PARTS):
        return None
    try:
        if read := _READERS.get(asked.path):
            return _bounded(_parts(_whole(read(asked.document), asked.aside)))
        if asked.path in ("/v1/completions", "/completion"):
            return _bounded(_plain(asked.document["prompt"], asked.aside))
    except (TooLongToKeep, RecursionError):  # the latter: too many objects inside each other
        pass
    return None


class TooLongToKeep(Exception):  # noqa: N818 - nothing is wrong with it
    """A prompt is longer than any context."""


def _bounded(parts: Iterator[Part]) -> Prompt | None:
    found: list[Part] = []
    characters = 0
    for each in parts:
        found.append(each)
        characters += 0 if each.kind == "picture" else each.characters
        if characters > MOST_CHARACTERS or len(found) > MOST_PARTS:
            return None
    return Prompt(tuple(found)) if found else None


def _text(kind: str, name: str, text: str) -> Part:
    if len(text) > MOST_CHARACTERS:
        raise TooLongToKeep
    return part(kind, name, text)


def _whole(dialogue: Dialogue, aside: Aside) -> Dialogue:
    """Return a conversation with what was set aside of its body."""
    for message in dialogue.messages:
        message.content = [
            aside.whole(each) if isinstance(each, str) else _hashed(each, aside)
            for each in message.content
        ]
    return dialogue


def _hashed(shown: ShownPicture, aside: Aside) -> ShownPicture:
    digest = blake2b(digest_size=HASH_BYTES)
    for piece in aside.parts(shown.text.encode("utf-8", "surrogatepass")):
        digest.update(piece)
    return ShownPicture(shown.text, digest.digest())


def _parts(dialogue: Dialogue) -> Iterator[Part]:
    settings, messages = dict(dialogue.settings), dialogue.messages
    tools = settings.pop("tools", None)  # replaces the others in the prompt, see `bodies.tools`
    if isinstance(tools, list):
        given = [each for each in tools if isinstance(each, dict)]
        functions = [each.get("function") or {} for each in given]
    else:
        functions = dialogue.tools
    for name, value in sorted(settings.items()):
        shown = _NAMES.get(name) or f"chat_template_kwargs.{_shown(name, 'another')}"
        yield _text("settings", shown, f"{name}: {_written(value)}")
    if messages and messages[0].role == "system":
        yield from _content("system", "system prompt", messages[0].content)
        messages = messages[1:]
    for number, function in enumerate(functions, 1):
        yield _tool(function, number)
    asked_at = _last_question(messages)
    for number, message in enumerate(messages, 1):
        yield from _message(message, f"message {number}", thinks=number - 1 > asked_at)


def _tool(function: dict[str, Any], number: int) -> Part:
    name, about = function.get("name"), function.get("description")
    parameters = _written(function.get("parameters") or _NO_PARAMETERS)
    text = f"{name}\n{about or ''}\n{parameters}"
    return _text("tools", _shown(name, f"number {number}"), text)


def _last_question(messages: list[Spoken]) -> int:
    """Return the place of the last message of a user that is no tool's result, or the last place.

    Templates of other models send results in the name of the user, with these tags around them.
    """
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user":
            text = "".join(each for each in messages[at].content if isinstance(each, str))
            if not (text.startswith("<tool_response>") and text.endswith("</tool_response>")):
                return at
    return len(messages) - 1


def _message(message: Spoken, name: str, *, thinks: bool) -> Iterator[Part]:
    if message.role != "assistant":
        yield from _content(message.role, name, message.content)
        return
    thinking, content = message.thinking, message.content
    text = "".join(each for each in content if isinstance(each, str))
    if not thinking and "</think>" in text:  # clients that do not know of thinking
        thinking = text.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
        content = [text.split("</think>")[-1].lstrip("\n")]
    if thinks:
        yield _text("thinking", name, thinking)
    calls = "".join(_call(called, given) for called, given in message.calls)
    yield from _content("assistant", name, [*content, calls] if calls else content, join="")


def _call(name: str, arguments: Any) -> str:
    if not isinstance(arguments, dict):
        return f"<{name}>\n{_written(arguments)}\n"
    pairs = (f"<{key}>\n{_written(value)}\n" for key, value in arguments.items())
    return f"<{name}>\n{''.join(pairs)}"


def _content(
    kind: str, name: str, content: list[str | ShownPicture], join: str = " "
) -> Iterator[Part]:
    """Yield the texts of a message and its pictures, in order.

    The engine joins texts by a line feed where there are pictures, the template by a space.
    """
    count = sum(isinstance(each, ShownPicture) for each in content)
    join = "\n" if count else join
    texts: list[str] = []
    pictures = 0
    for each in content:
        if isinstance(each, str):
            texts.append(each)
            continue
        if texts:
            yield _text(kind, name, join.join(texts))
        texts, pictures = [], pictures + 1
        yield _picture(each, f"picture {pictures} in {name}" if count > 1 else f"picture in {name}")
    if texts or not count:
        yield _text(kind, name, join.join(texts))


def _picture(shown: ShownPicture, name: str) -> Part:
    tokens = OVERVIEW_TOKENS  # the fewest that one takes
    try:
        head = a2b_base64(shown.text[:_PNG_HEAD])
    except (Error, ValueError):  # no base64, or not ASCII
        head = b""
    if head.startswith(_PNG) and len(head) >= len(_PNG) + 8:
        width, height = struct.unpack_from(">II", head, len(_PNG))
        if 0 < width < 1 << 16 and 0 < height < 1 << 16:
            tokens = image_tokens(width, height)
    return picture(name, shown.digest, tokens * TOKEN_CHARACTERS)


def _plain(prompt: Any, aside: Aside) -> Iterator[Part]:
    """Yield the prompt of a completion: a text, tokens, or a text with pictures beside it."""
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int | float):
        prompt = prompt[0]
    if isinstance(prompt, dict):
        pictures = prompt.get("multimodal_data")
        for number, each in enumerate(pictures if isinstance(pictures, list) else (), 1):
            if isinstance(each, str):
                yield _picture(_hashed(ShownPicture(each), aside), f"picture {number} in prompt")
        prompt = prompt.get("prompt_string", prompt.get("prompt"))
    if isinstance(prompt, str):
        yield _text("text", "prompt", aside.whole(prompt))
    elif isinstance(prompt, list) and all(isinstance(each, int) for each in prompt):
        yield _text("text", "prompt", ",".join(map(str, prompt)))


def _shown(name: Any, other: str) -> str:
    return name if isinstance(name, str) and _NAME.fullmatch(name) else other


def _written(value: Any) -> str:
    """Return a value as it stands in a prompt: a text as it is, else its JSON. Key order counts."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode("utf-8", "surrogatepass")
    except (OverflowError, UnicodeError):  # a number of more than 64 bits; half a character
        return json.dumps(value)
