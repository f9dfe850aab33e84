"""What is tried, best first: the quants, and for each the configurations. Pure.

This is the one place that decides in which order things are reduced (`ORDER`).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from runner.base.errors import UsageError, find
from runner.base.units import MIB
from runner.catalog.model import Geometry
from runner.plan.launch import RunDefaults
from runner.plan.memory.kv_cache import Config, kv_full_bytes, kv_sliding_bytes
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.request import PlanRequest

# What is reduced first when memory is tight. Image input only on the user's request.
ORDER: Final = (
    "prompt cache",
    "checkpoints",
    "micro-batch",
    "cache type",
    "context",
    "quant",
)
# Above 64K the cache is q8_0: about half the memory, and half the bytes to read for each token.
_LONG = 65_536
# (context, cache type), best first.
RUNGS: Final = (
    (262_144, "q8_0"),
    (131_072, "q8_0"),
    (65_536, "f16"),
    (65_536, "q8_0"),
    (32_768, "f16"),
    (32_768, "q8_0"),
)
# Shorter than 32K is a choice only where the model itself or the user says so.
SHORT_RUNGS: Final = ((16_384, "f16"), (8_192, "f16"), (4_096, "f16"))
# A larger micro-batch makes prefill faster; StepFun's own tables are made with 1024.
UBATCHES: Final = (2048, 1024, 512)
# How memory that is left over is used, in this order: a prompt cache saves the prefill of a
# conversation after another one, more checkpoints after an edit. (checkpoints, cache_ram_mib)
EXTRAS: Final = ((8, 8192), (8, 4096), (8, 2048), (8, 0))
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


def configs(model_spec: ModelSpec, request: PlanRequest, defaults: RunDefaults) -> Iterator[Config]:
    """Yield the configurations to try for each quant, best first.

    Raises UsageError for a context that the model cannot have.
    """
    trained = model_spec.geometry.context_length
    if request.context is not None and trained and request.context > trained:
        raise UsageError(
            f"{model_spec.name} cannot have a context of {request.context:,} tokens.",
            why=f"It was trained for {trained:,}.",
            next=f"Request at most that: --ctx {trained}",
        )
    see = request.see and bool(model_spec.projector_bytes)
    base = Config(
        context=0,
        parallel=request.parallel,
        projector=see,
        mtp=request.drafts(see=request.see) and bool(model_spec.mtp_bytes),
    )
    ubatches = (
        (request.ubatch,) if request.ubatch else [u for u in UBATCHES if u <= defaults.ubatch]
    )
    for context, kv_type in _rungs(trained, request):
        for ubatch in ubatches:
            yield replace(base, context=context, kv_type=kv_type, ubatch=ubatch)


def most_cache_mib(geometry: Geometry, config: Config) -> float:
    """Return the largest prompt cache that is worth its room."""
    one = (kv_full_bytes(geometry, config) + kv_sliding_bytes(geometry, config)) / config.parallel
    return _CONVERSATIONS * one / MIB


def _rungs(trained: int, request: PlanRequest) -> Iterator[tuple[int, str]]:
    if request.context is not None:
        usual = ("q8_0",) if request.context > _LONG else ("f16", "q8_0")
        for kv_type in (request.kv_type,) if request.kv_type else usual:
            yield request.context, kv_type
        return
    rungs = [rung for rung in RUNGS if rung[0] <= trained]
    if not rungs:  # a model of short context: all of it first
        short = [rung for rung in SHORT_RUNGS if rung[0] < trained]
        rungs = [(trained or SHORT_RUNGS[-1][0], "f16"), *short]
    seen = set()
    for context, kv_type in rungs:
        rung = (context, request.kv_type or kv_type)
        if rung not in seen:
            seen.add(rung)
            yield rung
