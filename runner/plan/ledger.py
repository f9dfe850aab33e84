"""The ledger: every byte that a running model takes, each with its reason. Pure.

All sizes in bytes. The cache formulas are llama.cpp's and are checked in the tests against the
engine's own log; the constants that had to be measured say where and how.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runner.catalog import Geometry, Layer
from runner.plan.subject import Subject, Variant

MIB: Final = 1 << 20
GIB: Final = 1 << 30

# ggml block sizes: bytes per 32 elements.
KV_BLOCK_BYTES: Final = {"f16": 64, "q8_0": 34}
KV_ELEMENTS: Final = 32
PAD: Final = 256  # llama.cpp rounds cells up to this


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


@dataclass(frozen=True, slots=True)
class Config:
    """The decisions that cost memory. `context` is per slot, in tokens."""

    context: int
    kv_type: str = "f16"
    ubatch: int = 512
    parallel: int = 1
    projector: bool = False
    mtp: bool = False
    checkpoints: int = 4
    cache_ram_mib: int = 0


def pad(cells: int) -> int:
    """Round cells up as llama.cpp does."""
    return -(-cells // PAD) * PAD


def layer_bytes(layer: Layer, kv_type: str) -> int:
    """Return the bytes that one token takes in one layer's cache (keys and values)."""
    elements = layer.kv_heads * (layer.key_length + layer.value_length)
    return elements * KV_BLOCK_BYTES[kv_type] // KV_ELEMENTS


def full_cells(config: Config) -> int:
    """Return the cells of a full-attention layer, all slots together."""
    return pad(config.context) * config.parallel


def sliding_cells(geometry: Geometry, config: Config) -> int:
    """Return the cells of a sliding layer, all slots together.

    llama.cpp keeps the window and one micro-batch for each slot (its caches are not shared
    between slots unless it is asked to).
    """
    window = pad(min(pad(config.context), geometry.sliding_window + config.ubatch))
    return window * config.parallel


def kv_full_bytes(geometry: Geometry, config: Config) -> int:
    """Return the full-attention cache of the trunk."""
    per_token = sum(layer_bytes(x, config.kv_type) for x in geometry.layers if not x.sliding)
    return per_token * full_cells(config)


def kv_sliding_bytes(geometry: Geometry, config: Config) -> int:
    """Return the sliding-window cache of the trunk."""
    per_token = sum(layer_bytes(x, config.kv_type) for x in geometry.layers if x.sliding)
    return per_token * sliding_cells(geometry, config) if per_token else 0


def kv_mtp_bytes(geometry: Geometry, config: Config) -> int:
    """Return the draft heads' own cache: f16 whatever the trunk's type."""
    f16 = Config(config.context, "f16", config.ubatch, config.parallel)
    sliding = sum(layer_bytes(x, "f16") for x in geometry.mtp_layers if x.sliding)
    full = sum(layer_bytes(x, "f16") for x in geometry.mtp_layers if not x.sliding)
    return sliding * sliding_cells(geometry, f16) + full * full_cells(f16)


def compute_bytes(geometry: Geometry, config: Config) -> int:
    """Return the graph's scratch memory.

    Three parts: the attention masks, f16, a row of cells for each token of a micro-batch; the
    activations, f32, for each token of it; the logits. The first two were read off the compute
    buffers that xllamacpp 11549 prints: for the full-size twin exactly, for SmolLM2 with 5 % to
    spare (`tests/engine` compares them).
    """
    g = geometry
    cells = pad(config.context)
    if any(layer.sliding for layer in g.layers):
        cells += sliding_cells(g, config) // config.parallel
    masks = 2 * cells * config.ubatch
    # Of a dense block: the residual stream and four tensors of its width. Of experts: what each
    # of the chosen ones puts out, before and after it is weighted.
    dense = 4 * g.feed_forward_length
    experts = g.experts_used * (2 * g.embedding_length + g.expert_feed_forward_length)
    activations = 4 * config.ubatch * (3 * g.embedding_length + max(dense, experts))
    logits = 4 * g.vocab_size * config.parallel
    return masks + activations + logits


def compute_mtp_bytes(geometry: Geometry, config: Config) -> int:
    """Return the scratch memory of the draft heads' own graph: one dense layer at a time.

    Exact for the full-size twin's heads (83.01 MiB, xllamacpp 11549).
    """
    g = geometry
    masks = 2 * sliding_cells(g, config) // config.parallel * config.ubatch
    activations = 4 * config.ubatch * (2 * g.embedding_length + 3 * g.feed_forward_length)
    return masks + activations + 4 * g.vocab_size * config.parallel


# The compute buffer of Step's vision tower on the CPU, where attention is computed in pieces:
# 130.20 MiB (full-size twin, xllamacpp 11549). Taken for any projector: others are smaller.
VISION_COMPUTE_BYTES: Final = int(130.2 * MIB)
# A backend without that holds all scores at once: 52 x 52 patches squared, 16 heads, f32. Not
# measured on any GPU yet; the larger figure is the safe one.
VISION_SCORES_BYTES: Final = (52 * 52) ** 2 * 16 * 4
# The engine beyond its buffers: interpreter, native library, vocabulary, threads. Measured on
# Linux x86-64 with xllamacpp 11549: 35 MiB of private memory for SmolLM2's 49,152 tokens. The rest
# is room for a vocabulary of 128,896 and for a GPU driver's context, which are not measured yet.
OVERHEAD_BYTES: Final = 300 * MIB


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
