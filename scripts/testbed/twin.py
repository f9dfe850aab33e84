"""A twin of the full-size model: true header, true length, and zeros for weights.

The engine maps it, allocates the true caches and decodes noise, so memory, time-outs and shards can
be rehearsed on a machine that could never hold the model. The files are sparse: a few megabytes of
disk on any file system that knows holes (not NTFS without further ado).

Against the official files only metadata differs (vocabulary, merges, chat template, paths of the
calibration data). Tensor names, shapes, types, order and shard boundaries are theirs: the lengths
of all shards after the first, which hold next to no metadata, equal the published ones to the byte.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gguf.constants import GGMLQuantizationType as Kind

from runner.testbed import files, metadata, vocabulary
from runner.testbed.geometry import (
    HEADS_Q8_0,
    PROJECTOR_F16,
    ModelRecipe,
    TextGeometry,
    VisionGeometry,
)

STEP = TextGeometry(
    hidden=4096,
    dense_ffn=11264,
    expert_ffn=1280,
    shared_ffn=1280,
    experts=288,
    experts_used=8,
    head_dim=128,
    kv_heads=8,
    full_heads=64,
    sliding_heads=96,
    vocabulary=vocabulary.TWIN_SIZE,
    layers=45,
    dense_layers=3,
    mtp_layers=3,
    window=512,
    context=262_144,
)
STEP_VISION = VisionGeometry(width=1536, ffn=8960, heads=16, layers=47, text_hidden=4096)

SHARD_LIMIT = 47_000_000_000
"""Bytes of tensors in a shard; found from the official shards, all of which obey it."""

QUANTS = {
    "IQ4_XS": ModelRecipe(
        30, Kind.IQ4_XS, (("output.weight", Kind.Q6_K), ("*.attn_v.weight", Kind.Q5_K))
    ),
    "Q4_K_S": ModelRecipe(
        14,
        Kind.Q4_K,
        (
            ("output.weight", Kind.Q6_K),
            ("blk.[0-3].attn_v.weight", Kind.Q5_K),
            ("blk.[0-4].ffn_down*", Kind.Q5_K),
        ),
    ),
    "Q3_K_M": ModelRecipe(
        12,
        Kind.Q3_K,
        (
            ("output.weight", Kind.Q6_K),
            ("blk.[01].attn_v.weight", Kind.Q5_K),
            ("blk.[01].ffn_down*", Kind.Q5_K),
            ("*.attn_v.weight", Kind.Q4_K),
            ("*.ffn_down*", Kind.Q4_K),
            ("*.attn_output.weight", Kind.Q4_K),
        ),
    ),
    "IQ3_XXS": ModelRecipe(
        23,
        Kind.IQ3_XXS,
        (
            ("output.weight", Kind.Q5_K),
            ("token_embd.weight", Kind.IQ3_S),
            ("*.attn_v.weight", Kind.Q4_K),
            ("*.attn_output.weight", Kind.IQ3_S),
            ("*.attn_[qk].weight", Kind.IQ2_S),
        ),
    ),
    "Q8_0": ModelRecipe(7, Kind.Q8_0),
}
"""Recipes whose shard lengths were checked against the published ones."""


def ensure(folder: Path, quant: str, *, force: bool = False) -> list[files.Written]:
    """Have the twin of one quant in `folder`, written only where it is not current."""
    write_this = partial(write, quant=quant)
    return files.ensure(folder, f"twin-{quant}", write_this, also=Path(__file__), force=force)[1]


def write(folder: Path, quant: str) -> None:
    """Write the trunk whole and in shards, the MTP heads and the projector (12 MB of disk)."""
    recipe, words = QUANTS[quant], vocabulary.twin()
    trunk = recipe.apply(STEP.trunk())
    entries = [
        *metadata.text(STEP, "Step-3.7 twin", "288x7.4B", mtp=False),
        *metadata.tokenizer(words),
        *metadata.quantisation(recipe.file_type),
        *metadata.calibration(),
    ]
    path = folder / f"step-twin-{quant}.gguf"
    files.write_sparse(path, metadata.TEXT_ARCH, entries, trunk)
    files.write_sparse(path, metadata.TEXT_ARCH, entries, trunk, shard_limit=SHARD_LIMIT)
    files.write_sparse(
        folder / "step-twin-mtp.gguf",
        metadata.TEXT_ARCH,
        [
            *metadata.text(STEP, "Step-3.7 MTP twin", "3.5B", mtp=True),
            *metadata.quantisation(HEADS_Q8_0.file_type),
            *metadata.tokenizer(words),
        ],
        HEADS_Q8_0.apply(STEP.heads_alone()),
    )
    files.write_sparse(
        folder / "mmproj-step-twin.gguf",
        metadata.VISION_ARCH,
        metadata.vision(STEP_VISION, "Step-3.7 vision twin", "2B", PROJECTOR_F16.file_type),
        PROJECTOR_F16.apply(STEP_VISION.rows()),
    )
