"""The ledger: every byte that a running model takes, each with its reason. Pure.

All sizes in bytes. The cache formulas are llama.cpp's and are checked in the tests against the
engine's own log; the constants that had to be measured say where and how.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from runner.base.units import MIB
from runner.plan.memory.compute_buffers import (
    Costs,
    compute_bytes,
    compute_mtp_bytes,
    overhead_bytes,
    staging_bytes,
    staging_mtp_bytes,
    vision_bytes,
)
from runner.plan.memory.kv_cache import (
    Config,
    checkpoint_bytes,
    kv_full_bytes,
    kv_mtp_bytes,
    kv_sliding_bytes,
    kv_state_bytes,
    pad,
    sliding_cells,
)
from runner.plan.model_spec import ModelSpec, Variant


class LedgerEntry(StrEnum):
    """The items of a ledger, in the order in which they are shown."""

    WEIGHTS = "weights"
    PROJECTOR = "projector"
    MTP = "mtp"
    KV_FULL = "kv_full"
    KV_SLIDING = "kv_sliding"
    KV_STATE = "kv_state"
    CHECKPOINTS = "checkpoints"
    PROMPT_CACHE = "prompt_cache"
    COMPUTE = "compute"
    VISION_COMPUTE = "vision_compute"
    OVERHEAD = "overhead"
    LESSON = "lesson"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True)
class Item:
    """One line: what, how many bytes, why."""

    item: LedgerEntry
    bytes: int
    why: str


def ledger(
    model_spec: ModelSpec, variant: Variant, config: Config, costs: Costs
) -> tuple[Item, ...]:
    """Return the items of one configuration in one memory, without those that are zero.

    `costs`: how the backend spends memory. The reserve is the machine's, and is not among them.
    """
    g = model_spec.geometry
    full = sum(layer.full for layer in g.layers)
    sliding = sum(layer.sliding for layer in g.layers)
    states = sum(layer.state_bytes > 0 for layer in g.layers)
    each = f" in each of {config.slots} slots" if config.slots > 1 else ""
    slots = f", shared by {config.slots} slots" if config.unified else each
    spare = f" ({config.spare} spare)" if config.spare else ""
    kept = config.checkpoints * config.slots
    scratch = compute_bytes(g, config, costs) + staging_bytes(g, config, costs)
    if config.mtp:
        scratch += compute_mtp_bytes(g, config) + staging_mtp_bytes(g, config, costs)
    rows = (
        (
            LedgerEntry.WEIGHTS,
            variant.weights_bytes + _tied_bytes(variant, costs),
            # A file's header, 5 MB, is more than what alignment and padding add on any backend.
            f"{variant.name}, {variant.files} file{'s' * (variant.files > 1)}",
        ),
        (
            LedgerEntry.PROJECTOR,
            model_spec.projector_bytes * config.projector,
            "vision encoder (mmproj)",
        ),
        (
            LedgerEntry.MTP,
            mtp_bytes(model_spec, config),
            "draft heads and their own cache" if config.mtp else "draft heads, loaded but not used",
        ),
        (
            LedgerEntry.KV_FULL,
            kv_full_bytes(g, config),
            f"{full} full-attention layers x {pad(config.context):,} cells{slots}, "
            f"{config.kv_type}",
        ),
        (
            LedgerEntry.KV_SLIDING,
            kv_sliding_bytes(g, config),
            f"{sliding} sliding layers x {sliding_cells(g, config) // config.streams:,} cells"
            f"{slots}{spare}, {config.kv_type}",
        ),
        (
            LedgerEntry.KV_STATE,
            kv_state_bytes(g, config),
            f"the state of {states} recurrent layers{each}, f32, however long the context",
        ),
        (
            LedgerEntry.CHECKPOINTS,
            checkpoint_bytes(g, config) * kept,
            f"{config.checkpoints} snapshots of the sliding-window cache"
            f"{each and f' for each of {config.slots} slots'}: what a next turn, an edit or the "
            "same system prompt goes back to",
        ),
        (
            LedgerEntry.PROMPT_CACHE,
            config.cache_ram_mib * MIB,
            "cached conversations to return to",
        ),
        (
            LedgerEntry.COMPUTE,
            scratch,
            f"compute buffers for {config.ubatch:,} tokens at a time",
        ),
        (
            LedgerEntry.VISION_COMPUTE,
            vision_bytes(model_spec.vision) * config.projector,
            "compute buffers of the vision encoder",
        ),
        (
            LedgerEntry.OVERHEAD,
            overhead_bytes(g, config, costs, model_spec.vision) + costs.device_mib * MIB,
            "the engine itself: code, vocabulary, threads"
            + (", and the driver's context and pools" if costs.device_mib else ""),
        ),
    )
    return tuple(Item(item, size, why) for item, size, why in rows if size)


def _tied_bytes(variant: Variant, costs: Costs) -> int:
    """Return the copy that an accelerator gets of an embedding that is also the output."""
    tied = variant.layout is not None and variant.layout.tied and costs.staging
    return variant.layout.input if tied and variant.layout else 0


def mtp_bytes(model_spec: ModelSpec, config: Config) -> int:
    """Return the draft heads and their cache; those inside the main file are always loaded."""
    weights = model_spec.mtp_bytes * (config.mtp or model_spec.mtp_inside)
    return weights + (kv_mtp_bytes(model_spec.geometry, config) if config.mtp else 0)


def merged(parts: Iterable[Sequence[Item]]) -> tuple[Item, ...]:
    """Return one ledger of several: equal items added up, in the order of `LedgerEntry`."""
    found: dict[LedgerEntry, Item] = {}
    for part in parts:
        for item in part:
            had = found.get(item.item)
            found[item.item] = replace(had, bytes=had.bytes + item.bytes) if had else item
    return tuple(found[entry] for entry in LedgerEntry if entry in found)


def total(items: Iterable[Item]) -> int:
    """Return the sum of a ledger."""
    return sum(item.bytes for item in items)
