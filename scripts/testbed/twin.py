"""A twin of the full-size model: true header, true length, and zeros for weights.

The engine maps it, allocates the true caches and decodes noise, so memory, time-outs and shards can
be rehearsed on a machine that could never hold the model. The files are sparse: a few megabytes of
disk on any file system that knows holes (not NTFS without further ado).

Against the official files only metadata differs (vocabulary, merges, chat template, paths of the
calibration data). Tensor names, shapes, types, order and shard boundaries are theirs: the lengths
of all shards after the first, which hold next to no metadata, equal the published ones to the byte.
"""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf.constants import GGUF_DEFAULT_ALIGNMENT, GGUFValueType, TokenType
from gguf.constants import GGMLQuantizationType as Kind

from runner.testbed import files, metadata
from runner.testbed.geometry import (
    HEADS_Q8_0,
    PROJECTOR_F16,
    ModelRecipe,
    Tensor,
    TextGeometry,
    VisionGeometry,
)
from runner.testbed.metadata import MetadataEntry
from runner.testbed.vocabulary import ADDED, BEGIN, END, PAD, SHOWN, Vocabulary, byte_tokens, spell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VOCABULARY_SIZE = 128_896
_MERGES = 127_741
_ADDED_FROM = 128_000
_SHOWN_FROM = 128_798
"""Where DeepSeek-V3's tokenizer, whose layout Step inherits, has `<think>`; not confirmed here."""

_LETTERS = "etaoinshrdlucmfwypvbgkjxqz"
"""By frequency in English, so that the merges which fit are the useful ones."""

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
    vocabulary=VOCABULARY_SIZE,
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
    recipe, words = QUANTS[quant], official_vocabulary()
    trunk = recipe.apply(STEP.trunk())
    entries = [
        *metadata.text(STEP, "Step-3.7 twin", "288x7.4B", mtp=False),
        *metadata.tokenizer(words),
        *metadata.quantisation(recipe.file_type),
        *_calibration(),
    ]
    path = folder / f"step-twin-{quant}.gguf"
    write_sparse(path, metadata.TEXT_ARCH, entries, trunk)
    write_sparse(path, metadata.TEXT_ARCH, entries, trunk, shard_limit=SHARD_LIMIT)
    write_sparse(
        folder / "step-twin-mtp.gguf",
        metadata.TEXT_ARCH,
        [
            *metadata.text(STEP, "Step-3.7 MTP twin", "3.5B", mtp=True),
            *metadata.quantisation(HEADS_Q8_0.file_type),
            *metadata.tokenizer(words),
        ],
        HEADS_Q8_0.apply(STEP.heads_alone()),
    )
    write_sparse(
        folder / "mmproj-step-twin.gguf",
        metadata.VISION_ARCH,
        metadata.vision(STEP_VISION, "Step-3.7 vision twin", "2B", PROJECTOR_F16.file_type),
        PROJECTOR_F16.apply(STEP_VISION.rows()),
    )


def write_sparse(
    path: Path,
    arch: str,
    entries: Iterable[MetadataEntry],
    tensors: list[Tensor],
    shard_limit: int = 0,
) -> None:
    """Write headers only and let the file system supply zeros for the data.

    With `shard_limit` (bytes of tensor data) the file is split as llama.cpp splits: the next shard
    starts with the first tensor that would pass the limit, and only the first one has metadata.
    """
    writer = files.new_writer(path, arch, entries, shard_limit)
    for tensor in tensors:
        # The writer wants an array type; the raw type beside it is what counts.
        writer.add_tensor_info(
            tensor.name, tensor.shape[::-1], np.dtype(np.float16), tensor.size, tensor.kind
        )
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    padded = {tensor.name: tensor.padded_size for tensor in tensors}
    for shard, held in zip(writer.format_shard_names(path), writer.tensors, strict=True):
        header = -(-shard.stat().st_size // GGUF_DEFAULT_ALIGNMENT) * GGUF_DEFAULT_ALIGNMENT
        os.truncate(shard, header + sum(padded[name] for name in held))


def official_vocabulary() -> Vocabulary:
    """Make the official layout and counts, with invented merges.

    What differs from the real file: every merged token (real words are split into pairs and fours
    of letters here, about two characters a token), the places of `ADDED` and `SHOWN` that the
    config does not name, and the other added tokens, which are unused placeholders.
    """
    pairs = list(islice(_merges(), _MERGES))
    head = [BEGIN, END, PAD, *byte_tokens(), *("".join(pair) for pair in pairs)]
    named = dict(enumerate(ADDED, _ADDED_FROM)) | dict(enumerate(SHOWN, _SHOWN_FROM))
    tail = range(len(head), VOCABULARY_SIZE)
    control = {BEGIN, END, PAD, *ADDED}
    return Vocabulary(
        tokens=(*head, *(named.get(place, f"<unused {place}>") for place in tail)),
        types=(
            *(TokenType.CONTROL if token in control else TokenType.NORMAL for token in head),
            *(_tail_type(named.get(place), control) for place in tail),
        ),
        merges=tuple(f"{left} {right}" for left, right in pairs),
    )


def _tail_type(token: str | None, control: set[str]) -> TokenType:
    if token is None:
        return TokenType.UNUSED
    return TokenType.CONTROL if token in control else TokenType.USER_DEFINED


def _merges() -> Iterator[tuple[str, str]]:
    """Pairs of letters, a space with a letter, then fours of letters, frequent ones first."""
    couples = [left + right for left in _LETTERS for right in _LETTERS]
    spaced = ((spell(" "), letter) for letter in chain(_LETTERS, _LETTERS.upper()))
    yield from ((couple[0], couple[1]) for couple in couples)
    yield from spaced
    for rank, rarer in enumerate(couples):
        yield from ((rarer, other) for other in couples[: rank + 1])
        yield from ((other, rarer) for other in couples[:rank])


def _calibration() -> list[MetadataEntry]:
    """List the keys that llama-quantize leaves when it used an importance matrix."""
    return [
        MetadataEntry("quantize.imatrix.file", "none: a twin of zeros", GGUFValueType.STRING),
        MetadataEntry("quantize.imatrix.dataset", "none", GGUFValueType.STRING),
        MetadataEntry("quantize.imatrix.entries_count", 528, GGUFValueType.UINT32),
        MetadataEntry("quantize.imatrix.chunks_count", 4868, GGUFValueType.UINT32),
    ]
