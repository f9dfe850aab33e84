"""Completes a body of Messages: before its shape is checked, and after."""

from typing import Any, Final

from runner.gateway.bodies import history, thinking, tools
from runner.gateway.calls import Asked

# What the real service left in a conversation, and only it can read.
_HOSTED_BLOCKS: Final = frozenset(
    {
        *("redacted_thinking", "server_tool_use", "web_search_tool_result"),
        *("web_fetch_tool_result", "code_execution_tool_result", "mcp_tool_use"),
        *("mcp_tool_result", "container_upload", "compaction"),
    }
)


def clear(asked: Asked) -> None:
    """Leave out what only Anthropic can use, whatever its shape; it is named as ignored.

    Tools of a type of its own have no schema: the model would call them, and nobody answer.
    """
    document = asked.document
    gone: list[str] = []
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            blocks = history.drop_kinds(message.get("content"), _HOSTED_BLOCKS)
            gone += [f"messages.{kind}" for kind in blocks]
    if isinstance(given := document.get("tools"), list):
        kinds = [tool.get("type") for tool in given if isinstance(tool, dict)]
        hosted = {kind for kind in kinds if isinstance(kind, str) and kind != "custom"}
        gone += [f"tools.{kind}" for kind in history.drop_kinds(given, hosted)]
    asked.changed |= bool(gone)
    asked.ignored += gone


def complete(asked: Asked) -> None:
    """Change what the engine would misread, and enforce what it would ignore. Raises Refusal."""
    for tool in asked.document.get("tools") or ():
        asked.changed |= history.drop_nulls(tool)
    for message in asked.document["messages"]:
        asked.changed |= _message(message)
    thinking.settle_for_messages(asked)
    tools.choose_for_messages(asked)


def _message(message: dict[str, Any]) -> bool:
    content = message["content"]
    if not isinstance(content, list):
        return False
    return sum(history.drop_nulls(block) for block in content) > 0  # every one, unlike any()
