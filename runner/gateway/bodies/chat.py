"""Completes a body of chat completions, once its shape is right."""

from typing import Any

from runner.gateway.bodies import form, history, thinking, tools
from runner.gateway.calls import Asked


def complete(asked: Asked) -> None:
    """Change what the engine would misread, and enforce what it would ignore. Raises Refusal."""
    document = asked.document
    for message in document["messages"]:
        asked.changed |= _message(message)
    for tool in document.get("tools") or ():
        asked.changed |= history.drop_nulls(tool["function"], keep=("parameters",))
    thinking.settle_effort(asked, document, "reasoning_effort", "reasoning_effort")
    tools.choose(asked, tools.openai_function)
    _settle_form(asked)


def _settle_form(asked: Asked) -> None:
    wanted = asked.document.get("response_format") or {}
    if wanted.get("type", "text") == "text":
        return
    schema = (wanted.get("json_schema") or wanted).get("schema")
    if not form.settle(asked, schema, "response_format", form.add_to_chat):
        del asked.document["response_format"]


def _message(message: dict[str, Any]) -> bool:
    changed = history.drop_nulls(message, keep=("content", "tool_calls"))
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        changed |= history.drop_nulls(part)
        if isinstance(part.get("image_url"), str):
            part["image_url"] = {"url": part["image_url"]}
            changed = True
    for call in message.get("tool_calls") or ():
        changed |= _call(call)
    return changed


def _call(call: dict[str, Any]) -> bool:
    changed = history.drop_nulls(call)
    if "type" not in call:
        call["type"] = "function"
        changed = True
    function = call["function"]
    given = function.get("arguments")
    if given is None or isinstance(given, str):
        function["arguments"] = history.arguments(given or "")
        changed |= function["arguments"] != given
    return changed
