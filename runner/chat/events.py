"""Events while a model answers: one typed stream for every interface of steprun. Pure."""

from dataclasses import dataclass, field

from runner.base.errors import SteprunError


@dataclass(frozen=True, slots=True)
class Loading:
    """The engine is getting ready; `waited_s` seconds so far."""

    waited_s: float


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """Prefill: `done` of `total` prompt tokens processed, `cached` of them from the KV cache.

    `read_s`: the seconds that it has taken so far, 0 where the server does not tell.
    """

    done: int
    total: int
    cached: int = 0
    read_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the reasoning before the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class WasReasoning:
    """All text so far was reasoning: the tag that ends it came, and none had begun it."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A piece of a call: pieces with the same `index` belong together, arguments add up."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took. Rates in tokens per second, 0 where the server reports none.

    `drafted`, `accepted`: tokens of speculative decoding (MTP). `restored_tokens`: of the cached
    ones those from a disk; `reread`: why the prompt was read again; `read_tps`: the rate at which
    the server reads long prompts. Only servers of steprun tell these three. `first_token_s`: from
    the question to the first token, by our clock. `earlier_tokens`: of those that were written,
    the ones that the prompt has, too: an answer that calls tools takes several requests.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_tps: float = 0.0
    decode_tps: float = 0.0
    drafted: int = 0
    accepted: int = 0
    restored_tokens: int = 0
    reread: str = ""
    read_tps: float = 0.0
    first_token_s: float = 0.0
    earlier_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolsRefused:
    """The server takes no tools: the question was asked without them."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer has ended: `stop`, `length`, `tool_calls`, or the server's own word."""

    reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer ended in an error; what arrived before it is kept."""

    error: SteprunError = field(compare=False)


Event = (
    Loading
    | PromptProgress
    | Reasoning
    | Text
    | WasReasoning
    | ToolCall
    | Usage
    | ToolsRefused
    | Finished
    | Failed
)
