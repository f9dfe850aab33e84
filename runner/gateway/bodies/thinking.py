"""How much the model thinks, by the words of three APIs.

Step-3.7-Flash knows low, medium and high, and its template opens every answer with thinking. Where
a client wants none, the engine ends the thinking at its first token.
"""

from typing import Any, Final

from runner.gateway.calls import Asked
from runner.gateway.refusal import Refusal

EFFORTS: Final = {
    "none": "none",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def known_effort(word: str, field: str) -> str:
    """Return the effort that the model knows for a word of an API. Raises Refusal (400)."""
    if word not in EFFORTS:
        known = ", ".join(EFFORTS)
        raise Refusal(
            400, f"The field {field!r} cannot be {word[:40]!r}; use {known}.", param=field
        )
    return EFFORTS[word]


def settle_effort(asked: Asked, holder: dict[str, Any], name: str, field: str) -> None:
    """Put the effort that the model knows into `holder[name]`; `field`: what users call it."""
    word = holder.get(name)
    if word is None:
        return
    effort = known_effort(word, field)
    if effort == "none" and "thinking_budget_tokens" not in asked.document:
        asked.document["thinking_budget_tokens"] = 0
        asked.changed = True
    if effort != word:
        holder[name] = effort
        asked.changed = True


def settle_for_messages(asked: Asked) -> None:
    """Settle `thinking` and `output_config.effort` of a Messages request. Raises Refusal (400)."""
    document = asked.document
    if (document.get("thinking") or {}).get("type") == "disabled":
        document["thinking"] = {"type": "enabled", "budget_tokens": 0}
        asked.changed = True
    word = (document.get("output_config") or {}).get("effort")
    if word is None:
        return
    effort = known_effort(word, "output_config.effort")
    kwargs = document.get("chat_template_kwargs") or {}
    if effort != "none" and "reasoning_effort" not in kwargs:
        document["chat_template_kwargs"] = {**kwargs, "reasoning_effort": effort}
        asked.changed = True
