"""What a request is given on its way so that its answer has an end. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from runner.gateway.calls import EngineCall, with_number
from runner.gateway.refusal import Refusal
from runner.gateway.settings import Settings

# Names what a request allows: an answer that repeats itself.
HEADER: Final = "x-steprun-repetition"
ALLOW: Final = "allow"
_WORDS: Final = (ALLOW, "end")

# Of a request that bounds neither its answer nor its thinking: half of the context is left for the
# answer, as all thinking and no answer is a known way to fail (reported of Step), and no more than
# this: at the 16 tokens a second of a DGX Spark with a long context it is more than an hour.
MOST_THINKING: Final = 65_536
_THINKS: Final = frozenset({"/v1/chat/completions", "/v1/responses"})
# A grammar of the client's own holds for the thinking, too, and may forbid its end: the engine then
# fails (b11549: "Unexpected empty grammar stack").
_BOUNDS: Final = ("thinking_budget_tokens", "reasoning_budget_tokens", "grammar")


def limited(
    call: EngineCall, document: Mapping[str, Any], headers: Mapping[str, str], settings: Settings
) -> EngineCall:
    """Return a request that generates, with its limits. `document`: its body.

    Raises Refusal (400) for a header that says nothing known.
    """
    word = headers.get(HEADER, "").strip().lower() or "end"
    if word not in _WORDS:
        raise Refusal(400, f"The header {HEADER!r} is 'end' or 'allow'.", param=HEADER)
    call = replace(call, guarded=not settings.allow_repetition and word != ALLOW)
    bounded = call.answer_tokens or any(document.get(name) is not None for name in _BOUNDS)
    most = min(MOST_THINKING, settings.context // 2)
    if bounded or not most or call.path not in _THINKS:
        return call
    return replace(call, body=with_number(call.body, b"thinking_budget_tokens", most))
