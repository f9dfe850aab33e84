"""What is tried, best first: the quants, and for each the configurations. Pure.

This is the one place that decides in which order things are reduced (`ORDER`).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from runner.base.errors import UsageError, find
from runner.base.units import GIB, MIB
from runner.catalog.model import Geometry
from runner.plan.launch import RunDefaults
from runner.plan.memory.kv_cache import (
    CHECKPOINTS,
    LEAST_CHECKPOINTS,
    Config,
    kv_full_bytes,
    kv_sliding_bytes,
)
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.request import PlanRequest

# What is reduced first when memory is tight. Image input only on the user's request. A context is
# therefore the longest that fits with a quantised cache; f16 is taken where it costs no context.
# The micro-batch gives way to context, too, but beyond `_LONG` not below `GOOD_UBATCH`: it is long
# prompts that a small one makes slow to prefill. Nor do the checkpoints and the spare slot beyond
# that: without them a conversation is read again where it need not be, and the longer it is, the
# longer does that take.
ORDER: Final = (
    "prompt cache",
    "checkpoints",
    "micro-batch",
    "cache type",
    "spare slot",
    "context",
    "quant",
)
STEP: Final = 8_192  # tokens between the contexts that are tried
SHORTEST, LONGEST = 32_768, 262_144  # unless the model or the user says otherwise
# Shorter than 32K is a choice only where the model itself or the user says so.
SHORT: Final = (16_384, 8_192, 4_096)
# Up to here f16 is taken wherever it fits. Beyond, reading twice the bytes for each token is worth
# it only with memory to spare: the largest of the engine's prompt caches must find room in it.
_LONG: Final = 65_536
F16_SPARE_BYTES: Final = 8 * GIB
# What a quant better than Q4_K_S gains (2 % of perplexity at most) is not worth a short context:
# it is taken only where it leaves half of what the model can have.
ENOUGH_QUALITY: Final = 70
_BETTER_CONTEXT: Final = LONGEST // 2
# A larger micro-batch makes prefill faster; StepFun's own tables are made with 1024.
UBATCHES: Final = (2048, 1024, 512)
GOOD_UBATCH: Final = 1024
# How memory that is left over is used, in this order: (checkpoints, MiB of the engine's own prompt
# cache). That cache saves the prefill of a conversation after another one, where prompts are not
# kept on the disk; more checkpoints are worth it only up to here, as each is in every saved file.
PROMPT_CACHES: Final = (8192, 4096, 2048)
MORE_CHECKPOINTS: Final = 2 * CHECKPOINTS
_CONVERSATIONS: Final = 4  # of full length; a prompt cache for more would only take memory


def variants(model_spec: ModelSpec, request: PlanRequest) -> tuple[Variant, ...]:
    """Return the quants to try, best first. UsageError for one that does not exist."""
    if request.quant is not None:
        known = {v.name: v for v in model_spec.variants}
        return (find("quant", request.quant.strip(), known, see="steprun models"),)
    auto = [v for v in model_spec.variants if v.auto]
    if not auto:
        raise UsageError(
            f"{model_spec.name} has no quant that can be chosen automatically.",
            next="Name one with --quant; list them: steprun models",
        )
    return tuple(sorted(auto, key=lambda v: (-v.quality, v.weights_bytes)))


def contexts(
    model_spec: ModelSpec, request: PlanRequest, variant: Variant | None = None
) -> tuple[int, ...]:
    """Return the contexts to try, in tokens, in ascending order.

    `variant`: those that this quant is worth having with, unless the user named either.

    Raises UsageError for a context that the model cannot have.
    """
    trained = model_spec.geometry.context_length
    if request.context is not None:
        if trained and request.context > trained:
            raise UsageError(
                f"{model_spec.name} cannot have a context of {request.context:,} tokens.",
                why=f"It was trained for {trained:,}.",
                next=f"Request at most that: --ctx {trained}",
            )
        return (request.context,)
    longest = min(trained or SHORT[-1], LONGEST)
    better = variant and variant.quality > ENOUGH_QUALITY and request.quant is None
    first = _BETTER_CONTEXT if better else SHORTEST
    shorter = range(first, longest, STEP) if longest > SHORTEST else sorted(SHORT)
    return (*(context for context in shorter if context < longest), longest)


def ubatches(request: PlanRequest, defaults: RunDefaults, context: int) -> tuple[int, ...]:
    """Return the micro-batches to try with a context, the largest first."""
    if request.ubatch:
        return (request.ubatch,)
    tried = tuple(u for u in UBATCHES if u <= defaults.ubatch) or (defaults.ubatch,)
    if request.context is not None or context <= _LONG:
        return tried
    return tuple(u for u in tried if u >= min(GOOD_UBATCH, tried[0]))


def configs(
    model_spec: ModelSpec,
    request: PlanRequest,
    defaults: RunDefaults,
    context: int,
) -> Iterator[tuple[Config, int]]:
    """Yield what to try at one context, best first.

    With each the room in bytes that it has to leave.
    """
    base = Config(
        context=context,
        parallel=request.parallel,
        shared=request.parallel > 1 and defaults.shared_slots,
        projector=request.see and bool(model_spec.projector_bytes),
        mtp=request.drafts(see=request.see) and bool(model_spec.mtp_bytes),
    )
    exact = ("f16", F16_SPARE_BYTES if context > _LONG else 0)
    usual = (exact, ("q8_0", 0), ("f16", 0))
    types = ((request.kv_type, 0),) if request.kv_type else usual
    tight = request.context is not None or context <= _LONG
    can = defaults.spare_slot and defaults.shared_slots
    yield from (
        (replace(base, kv_type=kind, ubatch=ubatch, checkpoints=kept, spare=spare), room)
        for spare in ((1, 0) if can and tight else (int(can),))
        for kind, room in types
        for ubatch in ubatches(request, defaults, context)
        for kept in ((CHECKPOINTS, LEAST_CHECKPOINTS) if tight else (CHECKPOINTS,))
    )


def least(
    model_spec: ModelSpec, request: PlanRequest, defaults: RunDefaults, context: int
) -> tuple[Config, ...]:
    """Return the least configurations of a context: one for each type of cache, q8_0 first.

    What none of them has room for, no other can. A quantised cache is smaller but costs a copy.
    """
    last = {c.kv_type: c for c, _ in configs(model_spec, request, defaults, context)}
    return tuple(sorted(last.values(), key=lambda config: config.kv_type, reverse=True))


def most_cache_mib(geometry: Geometry, config: Config) -> float:
    """Return the largest prompt cache that is worth its room."""
    one = (kv_full_bytes(geometry, config) + kv_sliding_bytes(geometry, config)) / config.parallel
    return _CONVERSATIONS * one / MIB
