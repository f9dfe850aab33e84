"""Completes a body of Responses: before its shape is checked, and after."""

from typing import Any, Final

from runner.gateway.bodies import form, history, thinking, tools
from runner.gateway.calls import Asked

# Calls of tools that ran at OpenAI: what they found is in the answer that followed.
_HOSTED_ITEMS: Final = frozenset(
    {
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("computer_call", "computer_call_output", "mcp_call", "mcp_list_tools"),
        *("mcp_approval_request", "mcp_approval_response", "compaction"),
    }
)


def clear(asked: Asked) -> None:
    """Leave out what only OpenAI can use, whatever its shape; it is named as ignored."""
    document = asked.document
    found = document.get("input")
    gone = [f"input.{kind}" for kind in history.drop_kinds(found, _HOSTED_ITEMS)]
    if isinstance(found, list):
        unread = [item for item in found if _unreadable(item)]
        document["input"] = [item for item in found if not _unreadable(item)]
        gone += ["input.reasoning"] * bool(unread)
    if isinstance(given := document.get("tools"), list):
        kinds = [tool.get("type") for tool in given if isinstance(tool, dict)]
        hosted = {kind for kind in kinds if isinstance(kind, str) and kind != "function"}
        gone += [f"tools.{kind}" for kind in history.drop_kinds(given, hosted)]
    if document.pop("top_logprobs", None) is not None:
        asked.changed = True  # the engine wants `logprobs` beside it, which Responses do not have
    asked.changed |= bool(gone)
    asked.ignored += gone


def complete(asked: Asked) -> None:
    """Change what the engine would misread, and enforce what it would ignore. Raises Refusal."""
    document = asked.document
    if isinstance(document["input"], list):
        for item in document["input"]:
            asked.changed |= _item(item)
    for tool in document.get("tools") or ():
        asked.changed |= history.drop_nulls(tool, keep=("parameters",))
    reasoning = document.get("reasoning") or {}
    thinking.settle_effort(asked, reasoning, "effort", "reasoning.effort")
    tools.choose(asked, tools.responses_function)
    wanted = (document.get("text") or {}).get("format") or {}
    if wanted.get("type", "text") == "text":
        return
    if form.settle(asked, wanted.get("schema"), "text.format", form.add_to_responses):
        document["response_format"] = _chat_form(wanted)
        asked.changed = True


def _unreadable(item: Any) -> bool:
    """Tell whether an item is thinking that only OpenAI can read."""
    return isinstance(item, dict) and item.get("type") == "reasoning" and not item.get("content")


def _item(item: dict[str, Any]) -> bool:
    changed = history.drop_nulls(item)
    if "type" not in item:
        item["type"] = "message"  # the engine knows an assistant's by it
        changed = True
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        if part["type"] == "refusal":
            part |= {"type": "output_text", "text": part["refusal"]}
            changed = True
    if item["type"] == "reasoning" and "summary" not in item:
        item["summary"] = []
        changed = True
    if item["type"] == "function_call":
        given = item["arguments"]
        item["arguments"] = history.arguments(given)
        changed |= item["arguments"] != given
    return changed


def _chat_form(form: dict[str, Any]) -> dict[str, Any]:
    """Return a form of an answer as chat completions have it, which the engine reads."""
    if form["type"] == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"schema": form["schema"]}}
