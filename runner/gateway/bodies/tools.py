"""Which tools a model may or must call, by the rules of three APIs.

The engine knows `auto`, `none` and `required`, and enforces the last with a grammar that it makes
of `tools`. To enforce one tool, only that one is left there. The prompt keeps them all, as the chat
template is given its own list (`chat_template_kwargs.tools` replaces what the engine hands to it):
with fewer the head of the prompt would change, and the whole conversation be read again.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

from runner.gateway.calls import Asked
from runner.gateway.refusal import Refusal

_MODES: Final = ("auto", "none", "required")


def openai_function(tool: dict[str, Any]) -> dict[str, Any]:
    """Return the function of a tool of chat completions."""
    function: dict[str, Any] = tool["function"]
    return function


def responses_function(tool: dict[str, Any]) -> dict[str, Any]:
    """Return the function of a tool of Responses."""
    return tool


def messages_function(tool: dict[str, Any]) -> dict[str, Any]:
    """Return the function of a tool of Messages."""
    return {**tool, "parameters": tool.get("input_schema", {})}


def choose(asked: Asked, function: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Make the engine enforce the `tool_choice` of an OpenAI request. Raises Refusal (400).

    `function`: returns the function of a tool, as chat completions have it.
    """
    document = asked.document
    choice = document.get("tool_choice")
    if choice is None:
        return
    mode, names = _choice(choice)
    if mode == "required" or names is not None:
        _must_have_tools(document)
    if names is not None:
        _only(document, names, function)
        document["tool_choice"] = mode
        asked.changed = True


def choose_for_messages(asked: Asked) -> None:
    """Make the engine enforce the `tool_choice` of a Messages request. Raises Refusal (400)."""
    document = asked.document
    choice = document.get("tool_choice") or {}
    kind = choice.get("type", "auto")
    if kind in ("any", "tool"):
        _must_have_tools(document)
    if kind == "tool":
        _only(document, (choice["name"],), messages_function)
        asked.changed = True
    elif kind == "none" and document.get("tools"):
        _only(document, (), messages_function)
        asked.changed = True


def _choice(choice: Any) -> tuple[str, Collection[str] | None]:
    """Return the mode of an OpenAI choice, and the names it is about; None where it has none."""
    if isinstance(choice, str):
        if choice not in _MODES:
            raise _wrong(f"It cannot be {choice[:40]!r}; use auto, none, required, or a function.")
        return choice, None
    kind = choice.get("type")
    if kind == "function":
        return "required", (_name(choice.get("function", choice)),)
    if kind == "allowed_tools":
        allowed = choice.get("allowed_tools", choice)  # nested in chat completions only
        tools = allowed.get("tools") if isinstance(allowed, dict) else None
        if not isinstance(tools, list) or allowed.get("mode") not in ("auto", "required"):
            raise _wrong("Allowed tools need 'mode', auto or required, and 'tools'.")
        names = [_name(tool.get("function", tool)) for tool in tools if isinstance(tool, dict)]
        return allowed["mode"], names
    raise _wrong("Only a function can be named: {'type': 'function', ...}.")


def _name(found: Any) -> str:
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(name, str):
        raise _wrong("It does not say the name of the function.")
    return name


def _must_have_tools(document: dict[str, Any]) -> None:
    if not document.get("tools"):
        raise _wrong("It asks for a call, and there are no 'tools'.")


def _only(
    document: dict[str, Any],
    names: Collection[str],
    function: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Leave only the tools of these names to the engine, and all of them in the prompt."""
    functions = [function(tool) for tool in document["tools"]]
    there = [each["name"] for each in functions]
    if missing := [name for name in names if name not in there]:
        raise _wrong(f"There is no tool named {missing[0][:80]!r} in 'tools'.")
    kwargs = document.get("chat_template_kwargs") or {}
    document["chat_template_kwargs"] = {"tools": [*map(_in_prompt, functions)]} | kwargs
    pairs = zip(there, document["tools"], strict=True)
    document["tools"] = [tool for name, tool in pairs if name in names]


def _in_prompt(function: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as the engine hands it to a template: the same keys in the same order."""
    shown = {
        "name": function["name"],
        "description": function.get("description") or "",
        "parameters": function.get("parameters", {}),
    }
    return {"type": "function", "function": shown}


def _wrong(why: str) -> Refusal:
    return Refusal(400, f"The field 'tool_choice' is wrong. {why}", param="tool_choice")
