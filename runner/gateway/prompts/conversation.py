"""A conversation in one form, whichever API it was sent in: as the engine's template gets it. Pure.

It follows the engine's own converters and what its template engine does with a message's parts
(llama.cpp b11549: `server-chat.cpp`, and `to_json_oaicompat` in `chat.cpp`), but only in what
reaches the prompt: the ids of calls do not, so they are left out. The documents were checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture as it was sent: base64, or where it is. `digest`: of all of it."""

    text: str
    digest: bytes = b""


@dataclass(slots=True)
class Spoken:
    """One message. `calls`: the name and the arguments of each tool that it calls."""

    role: str
    content: list[str | ShownPicture]
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a model reads: settings by name, tools (their functions), and messages."""

    settings: dict[str, Any]
    tools: list[dict[str, Any]]
    messages: list[Spoken]


def from_chat(document: dict[str, Any]) -> Dialogue:
    """Read a body of chat completions."""
    tools = [tool.get("function") or {} for tool in document.get("tools") or ()]
    messages = [*map(_chat_message, document["messages"])]
    return Dialogue(_settings(document, document.get("reasoning_effort")), tools, messages)


def from_messages(document: dict[str, Any]) -> Dialogue:
    """Read a body of Messages."""
    tools = [
        {**tool, "parameters": tool.get("input_schema")} for tool in document.get("tools") or ()
    ]
    messages = []
    if (system := document.get("system")) is not None:
        texts = system if isinstance(system, str) else "".join(_text(each) for each in system)
        messages.append(Spoken("system", [texts]))
    for message in document["messages"]:
        content = message["content"]
        if isinstance(content, str):
            messages.append(Spoken(_role(message), [content]))
        else:
            messages += _from_blocks(_role(message), content)
    return Dialogue(_settings(document, None), tools, messages)


def from_responses(document: dict[str, Any]) -> Dialogue:
    """Read a body of Responses."""
    messages: list[Spoken] = []
    if "instructions" in document:
        messages.append(Spoken("system", [document["instructions"] or ""]))
    given = document["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        _add_item(messages, item)
    effort = (document.get("reasoning") or {}).get("effort")
    return Dialogue(_settings(document, effort), document.get("tools") or [], messages)


def _settings(document: dict[str, Any], effort: Any) -> dict[str, Any]:
    """Return what a template is given beside the conversation; a field goes before its like."""
    given = document.get("chat_template_kwargs")
    settings = dict(given) if isinstance(given, dict) else {}
    if effort:
        settings["reasoning_effort"] = effort
    return settings


def _chat_message(message: dict[str, Any]) -> Spoken:
    calls = [
        (each["function"]["name"], _arguments(each["function"].get("arguments")))
        for each in message.get("tool_calls") or ()
    ]
    thinking = message.get("reasoning_content")
    return Spoken(
        _role(message),
        _content(message.get("content")),
        thinking if isinstance(thinking, str) else "",
        calls,
    )


def _from_blocks(role: str, blocks: list[dict[str, Any]]) -> Iterator[Spoken]:
    """Yield what a message of blocks comes to: what it says first, then each tool's result."""
    spoken, results = Spoken(role, []), []
    for block in blocks:
        match block.get("type"):
            case "thinking":
                spoken.thinking += block.get("thinking") or ""
            case "tool_use":
                spoken.calls.append((block.get("name") or "", block.get("input") or {}))
            case "tool_result":
                content = _content(block.get("content"))
                if all(isinstance(each, str) for each in content):
                    content = ["".join(map(str, content))]
                results.append(Spoken("tool", content))
            case _:
                spoken.content += _content([block])
    if spoken.content or spoken.calls or spoken.thinking:
        yield spoken
    yield from results


def _add_item(messages: list[Spoken], item: dict[str, Any]) -> None:
    """Add an item of Responses: what an assistant does in a row is one message."""
    kind = item.get("type") or "message"
    if kind == "function_call_output":
        messages.append(Spoken("tool", _content(item.get("output"))))
        return
    if kind == "message" and item.get("role") != "assistant":
        messages.append(Spoken(_role(item), _content(item.get("content"))))
        return
    if not messages or messages[-1].role != "assistant":
        messages.append(Spoken("assistant", []))
    last = messages[-1]
    if kind == "function_call":
        last.calls.append((item.get("name") or "", _arguments(item.get("arguments"))))
    elif kind == "reasoning":
        found = item.get("content")
        last.thinking = _text(found[0]) if isinstance(found, list) and found else ""
    else:
        last.content += _content(item.get("content"))


def _role(message: dict[str, Any]) -> str:
    """Return who speaks, in the words of the template: it knows no developers."""
    role = str(message.get("role", ""))
    if role in ("system", "developer"):
        return "observation" if message.get("name") == "observation" else "system"
    return role


def _content(content: Any) -> list[str | ShownPicture]:
    if isinstance(content, str):
        return [content]
    found: list[str | ShownPicture] = []
    for part in content if isinstance(content, list) else ():
        match part.get("type"):
            case "image_url" | "input_image":
                given = part.get("image_url")
                found.append(_picture(given.get("url") if isinstance(given, dict) else given))
            case "image":
                source = part.get("source") or {}
                found.append(_picture(source.get("data") or source.get("url")))
            case _ if isinstance(part.get("text"), str):
                found.append(part["text"])
    return found


def _picture(given: Any) -> ShownPicture:
    """Return a picture by what all APIs send of it: the base64 without its head."""
    text = given if isinstance(given, str) else ""
    return ShownPicture(text.partition(",")[2] if text[:5].lower() == "data:" else text)


def _text(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def _arguments(given: Any) -> Any:
    """Return the arguments of a call as the template gets them: an object, where it is one."""
    if not isinstance(given, str):
        return given
    try:
        return msgspec.json.decode(given)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return given
