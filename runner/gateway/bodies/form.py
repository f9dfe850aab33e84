"""The form of an answer (JSON, to a schema) where the model may call tools as well.

The engine enforces one of the two with its grammar: with a form no tool could be called any more.
Agent frameworks send both with every request, and need the calls. So the form is put into the
prompt instead, where the model reads it, and is named as not enforced. Where a call is required,
there is no answer to have a form.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from runner.gateway.calls import Asked


def settle(
    asked: Asked, schema: Any, field: str, add: Callable[[dict[str, Any], str], None]
) -> bool:
    """Return whether the engine shall enforce the form that `field` asks for.

    `schema`: the form's, None for any object. `add` puts words into the prompt of a document.
    Call it after `tools.choose`, which settles `tool_choice`.
    """
    choice = asked.document.get("tool_choice")
    if not asked.document.get("tools") or choice == "none":
        return True
    if choice != "required":
        add(asked.document, _words(schema))
        asked.ignored.append(field)
    asked.changed = True
    return False


def add_to_chat(document: dict[str, Any], words: str) -> None:
    """Add words to the system's message, which is made where there is none."""
    messages = document["messages"]
    if messages[0]["role"] not in ("system", "developer"):
        messages.insert(0, {"role": "system", "content": words})
        return
    content = messages[0].get("content") or ""
    if isinstance(content, str):
        messages[0]["content"] = f"{content}\n\n{words}".strip()
    else:
        content.append({"type": "text", "text": f"\n\n{words}"})


def add_to_responses(document: dict[str, Any], words: str) -> None:
    """Add words to the instructions."""
    document["instructions"] = f"{document.get('instructions') or ''}\n\n{words}".strip()


def _words(schema: Any) -> str:
    fits = f" It fits this JSON schema: {msgspec.json.encode(schema).decode()}" if schema else ""
    return f"When you answer without calling a tool, write one JSON object and nothing else.{fits}"
