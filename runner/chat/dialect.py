"""What a server is, by what it says of itself, and what may be sent to it. Pure.

Strict servers refuse a request with a field that they do not know (400 or 422), so that the fields
of llama-server go to llama-server alone. Any other server gets OpenAI's fields and no more.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runner.base.errors import UsageError
from runner.base.text import clean_name

OURS: Final = "steprun"  # the owner that steprun's gateway names with its model
_FEW: Final = 20  # models that an error lists
_STEP: Final = re.compile(r"(?:^|[^a-z])step[-_. ]?3", re.IGNORECASE)
_THIS_STEP: Final = re.compile(r"(?:^|[^a-z])step[-_. ]?3[-_.p]?7", re.IGNORECASE)
_NO_CHAT: Final = re.compile(r"embed|rerank|whisper|tts|moderation|dall-e", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The fields that a server takes beyond OpenAI's.

    `progress`: it reports how far it has read the prompt. `template`: the reasoning effort has to
    be sent to the chat template as well (`chat_template_kwargs`). `thoughts`: the field of an
    assistant's message that has its reasoning, which templates render within one answer's calls.
    `tool_pictures`: a tool's message may have pictures. `thinking_cap`: the field that limits the
    tokens of the thinking, empty where there is none. `continues`: it writes on behind the
    beginning of an answer. `control`: it can be told in mid-answer to end the thinking.
    """

    name: str
    progress: bool = False
    template: bool = False
    thoughts: str = ""
    tool_pictures: bool = False
    thinking_cap: str = ""
    continues: bool = False
    control: bool = False


# llama.cpp b11549: `oaicompat_chat_params_parse` in server-common.cpp, `post_control` in
# server-context.cpp. Older ones know neither `reasoning_control` nor the way to its end.
# It replaces pictures in the messages of every role, so that Step's template puts them between
# <tool_response> and its end. In a user's message they would count as a new question, and the
# template drops the reasoning before it.
LLAMA_SERVER: Final = Dialect(
    "llama-server",
    progress=True,
    template=True,
    thoughts="reasoning_content",
    tool_pictures=True,
    thinking_cap="thinking_budget_tokens",
    continues=True,
    control=True,
)
# llama_cpp.server behind our gateway: an answer that is sent with it is one message more to it.
PYTHON_ENGINE: Final = replace(
    LLAMA_SERVER, name="llama-cpp-python", thinking_cap="", continues=False, control=False
)
OPENAI: Final = Dialect("OpenAI-compatible")
# `owned_by` in /v1/models: a default of `ModelCard` in the protocol.py of vLLM and of SGLang; in
# llama-swap's proxymanager.go; for Ollama and LM Studio, as in lists that their users published.
# SGLang's `ChatCompletionRequest` and vLLM's page "Reasoning Outputs" have `chat_template_kwargs`,
# the latter `thinking_token_budget`, too; to the others neither is sent. vLLM takes pictures in
# every message, and reads `reasoning` (`_parse_chat_message_content` in its chat_utils.py at
# 001eadc).
_OWNERS: Final[Mapping[str, Dialect]] = {
    "vllm": Dialect(
        "vLLM",
        template=True,
        thoughts="reasoning",
        tool_pictures=True,
        thinking_cap="thinking_token_budget",
    ),
    "sglang": Dialect("SGLang", template=True),
    "library": Dialect("Ollama"),
    "organization_owner": Dialect("LM Studio"),
    "llama-swap": Dialect("llama-swap"),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that a server offers. `context` in tokens, 0 where unknown."""

    name: str
    owner: str = ""
    context: int = 0


def recognised(props: Mapping[str, Any], offers: Sequence[Offer]) -> Dialect:
    """Return a server's dialect. `props`: what it answers to /props, which only one server has."""
    if "default_generation_settings" in props or "build_info" in props:
        return LLAMA_SERVER
    owners = {offer.owner for offer in offers}
    return next((dialect for name, dialect in _OWNERS.items() if name in owners), OPENAI)


def is_step(model: str, props: Mapping[str, Any]) -> bool:
    """Tell whether a model is Step 3.7, whose price of an image is known, by what a server says.

    By the name that it offers, its alias, or the file of its weights.
    """
    path = str(props.get("model_path") or "").replace("\\", "/").rpartition("/")[2]
    names = (model, str(props.get("model_alias") or ""), path)
    return any(_THIS_STEP.search(name) for name in names)


def offers_of(reply: object) -> list[Offer]:
    """Return the models in a list of models, however it is written; none where it is no list."""
    rows = reply
    if isinstance(reply, dict):
        rows = reply.get("data") or reply.get("models")
    found: dict[str, Offer] = {}
    for row in rows if isinstance(rows, list) else ():
        fields = row if isinstance(row, dict) else {"id": row}
        names = (fields.get(key) for key in ("id", "key", "model", "name"))
        name = next((each for each in names if isinstance(each, str) and each), "")
        if name:
            owner = fields.get("owned_by")
            found.setdefault(
                name, Offer(name, owner if isinstance(owner, str) else "", _context(fields))
            )
    return list(found.values())


def _context(fields: Mapping[str, Any]) -> int:
    meta = fields.get("meta")
    inner = meta if isinstance(meta, dict) else {}
    sizes = (
        inner.get("n_ctx"),
        *(fields.get(key) for key in ("loaded_context_length", "max_model_len", "context_length")),
    )
    return next((size for size in sizes if type(size) is int and 0 < size < 1 << 40), 0)


def chosen(offers: Sequence[Offer], asked: str) -> Offer:
    """Return the model to ask for; its name is empty where the server lists none.

    `asked`: the name that the user gave; it is taken as it is, as a server may know others than it
    lists. Else the only model that is a Step, or the only one that can chat. Raises UsageError
    with the list where there are several.
    """
    if asked:
        return next((offer for offer in offers if offer.name == asked), Offer(asked))
    if not offers:
        return Offer("")
    for wanted in (_THIS_STEP, _STEP):
        steps = [offer for offer in offers if wanted.search(offer.name)]
        if len(steps) == 1:
            return steps[0]
        if steps:
            raise _several(steps, "models named Step")
    if len(offers) == 1:
        return offers[0]
    able = [offer for offer in offers if not _NO_CHAT.search(offer.name)]
    if len(able) == 1:
        return able[0]
    raise _several(able or offers, "models, and none is named Step")


def _several(offers: Sequence[Offer], kind: str) -> UsageError:
    names = [clean_name(offer.name)[:100] for offer in offers]
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return UsageError(
        f"The server offers {len(names)} {kind}.",
        why=f"They are: {', '.join(names[:_FEW])}{more}.",
        next=f"Name one of them: --model {shlex.quote(names[0])}",
    )
