"""The ledger: every byte that a running model takes, each with its reason. Pure.

All sizes in bytes. The cache formulas are llama.cpp's and are checked in the tests against the
engine's own log; the constants that had to be measured say where and how.
"""

from dataclasses import dataclass
from enum import StrEnum

from runner.plan.cache import (
    MIB,
    Config,
    kv_full_bytes,
    kv_mtp_bytes,
    kv_sliding_bytes,
    pad,
    sliding_cells,
)
from runner.plan.scratch import (
    OVERHEAD_BYTES,
    VISION_COMPUTE_BYTES,
    VISION_SCORES_BYTES,
    compute_bytes,
    compute_mtp_bytes,
)
from runner.plan.subject import Subject, Variant


class Entry(StrEnum):
    """The items of a ledger, in the order in which they are shown."""

    WEIGHTS = "weights"
    PROJECTOR = "projector"
    MTP = "mtp"
    KV_FULL = "kv_full"
    KV_SLIDING = "kv_sliding"
    CHECKPOINTS = "checkpoints"
    PROMPT_CACHE = "prompt_cache"
    COMPUTE = "compute"
    VISION_COMPUTE = "vision_compute"
    OVERHEAD = "overhead"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True)
class Item:
    """One line: what, how many bytes, why."""

    item: Entry
    bytes: int
    why: str


def ledger(
    subject: Subject,
    variant: Variant,
    config: Config,
    reserve: tuple[int, str] = (0, ""),
    *,
    accelerated: bool = True,
) -> tuple[Item, ...]:
    """Return the items of one configuration, without those that are zero.

    `accelerated`: a GPU computes, whose vision tower may need more scratch memory.
    """
    g = subject.geometry
    vision = VISION_COMPUTE_BYTES + VISION_SCORES_BYTES * accelerated
    full = sum(not layer.sliding for layer in g.layers)
    sliding = len(g.layers) - full
    kv_sliding = kv_sliding_bytes(g, config)
    slots = f" in each of {config.parallel} slots" if config.parallel > 1 else ""
    checkpoint = (kv_sliding + (kv_mtp_bytes(g, config) if config.mtp else 0)) // config.parallel
    kept = config.checkpoints * config.parallel
    rows = (
        (
            Entry.WEIGHTS,
            variant.weights_bytes,
            f"{variant.name}, {variant.files} file{'s' * (variant.files > 1)}",
        ),
        (Entry.PROJECTOR, subject.projector_bytes * config.projector, "the part that sees"),
        (
            Entry.MTP,
            (subject.mtp_bytes + kv_mtp_bytes(g, config)) * config.mtp,
            "draft heads and their own cache",
        ),
        (
            Entry.KV_FULL,
            kv_full_bytes(g, config),
            f"{full} full-attention layers x {pad(config.context):,} cells{slots}, "
            f"{config.kv_type}",
        ),
        (
            Entry.KV_SLIDING,
            kv_sliding,
            f"{sliding} sliding layers x {sliding_cells(g, config) // config.parallel:,} cells"
            f"{slots}, {config.kv_type}",
        ),
        (
            Entry.CHECKPOINTS,
            checkpoint * kept,
            f"up to {kept} copies of the sliding cache, so that an edited conversation "
            "need not be read again",
        ),
        (Entry.PROMPT_CACHE, config.cache_ram_mib * MIB, "conversations kept to come back to"),
        (
            Entry.COMPUTE,
            compute_bytes(g, config) + (compute_mtp_bytes(g, config) if config.mtp else 0),
            f"scratch memory for {config.ubatch} tokens at a time",
        ),
        (
            Entry.VISION_COMPUTE,
            vision * config.projector,
            "scratch memory of the vision tower",
        ),
        (Entry.OVERHEAD, OVERHEAD_BYTES, "the engine itself: code, vocabulary, threads"),
        (Entry.RESERVE, reserve[0], reserve[1]),
    )
    return tuple(Item(item, size, why) for item, size, why in rows if size)


def total(items: tuple[Item, ...]) -> int:
    """Return the sum of a ledger."""
    return sum(item.bytes for item in items)
