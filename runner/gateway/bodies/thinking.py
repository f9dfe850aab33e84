"""How much the model thinks, by the words of three APIs.

Step-3.7-Flash knows low, medium and high, and its template opens every answer with thinking. Where
a client wants none it gets low, and is told. The engine could end the thinking at its first token
(`thinking_budget_tokens` 0, which is passed on), but a model that was never trained so goes on
thinking in its answer: a tiny Step did, and wrote a second `</think>` there.
"""

from typing import Any, Final

from runner.gateway.calls import Asked
from runner.gateway.refusal import Refusal

EFFORTS: Final = {
    "none": "low",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def settle_effort(asked: Asked, holder: dict[str, Any], name: str, field: str) -> None:
    """Put the effort that the model knows into `holder[name]`; `field`: what users call it.

    Raises Refusal (400) for a word that no API has.
    """
    word = holder.get(name)
    if word is None:
        return
    if word not in EFFORTS:
        known = ", ".join(EFFORTS)
        raise Refusal(
            400, f"The field {field!r} cannot be {word[:40]!r}; use {known}.", param=field
        )
    if word == "none":
        asked.ignored.append(field)
    if EFFORTS[word] != word:
        holder[name] = EFFORTS[word]
        asked.changed = True


def settle_for_messages(asked: Asked) -> None:
    """Settle `thinking` and `output_config.effort` of a Messages request. Raises Refusal (400)."""
    document = asked.document
    config = document.get("output_config") or {}
    settle_effort(asked, config, "effort", "output_config.effort")
    effort = config.get("effort")
    if (document.get("thinking") or {}).get("type") == "disabled":
        asked.ignored.append("thinking")
        effort = "low"
    kwargs = document.get("chat_template_kwargs") or {}
    if effort and "reasoning_effort" not in kwargs:
        document["chat_template_kwargs"] = {**kwargs, "reasoning_effort": effort}
        asked.changed = True
