"""A Step of about ten megabytes with every feature of the real one, and a matching projector.

Weights are random but small beside the embeddings, so that the grammar of `language` holds and
about a quarter of the MTP heads' guesses are right. Matrices are Q8_0, a type in which faulty
matrix kernels (AMX) show. Every random number comes from integers and exact float32 steps: no
maths library can make two machines write different files. What they say may still differ a little,
since engines add in different orders.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from runner.testbed import files, language, metadata
from runner.testbed.geometry import (
    HEADS_Q8_0,
    PROJECTOR_F16,
    ModelRecipe,
    Table,
    Tensor,
    TextGeometry,
    VisionGeometry,
)

if TYPE_CHECKING:
    from pathlib import Path

Weights: TypeAlias = npt.NDArray[np.float32]

SEED = "tiny-step/1"

WORDS = language.tiny_vocabulary()

TINY = TextGeometry(
    hidden=256,
    dense_ffn=512,
    expert_ffn=128,
    shared_ffn=128,
    experts=16,
    experts_used=8,
    head_dim=128,
    kv_heads=2,
    full_heads=4,
    sliding_heads=6,
    vocabulary=len(WORDS.tokens),
    layers=4,
    dense_layers=1,
    mtp_layers=3,
    window=512,
    context=262_144,
)
TINY_VISION = VisionGeometry(width=64, ffn=128, heads=4, layers=2, text_hidden=TINY.hidden)

_GAINS = (
    # Into the residual stream: what these add stays below the unit variance of an embedding.
    ("*.attn_output.weight", 1.2),
    ("*.ffn_down*", 0.7),
    # Per random coordinate; over all of them the logits move by about one.
    ("output.weight", 1.5),
    ("token_embd.weight", math.sqrt(TINY.hidden)),
    ("*.exp_probs_b.bias", 0.05),
    ("mm.model.fc.weight", 1.5),
)
"""Standard deviation of a tensor's values times the square root of its inputs; 1 keeps variance."""


def write(folder: Path) -> None:
    """Write the main file, the same without MTP heads, the heads alone, and the projector."""
    trunk, inside, alone = TINY.trunk(), TINY.heads_inside(), TINY.heads_alone()
    for name, table, mtp in (
        ("tiny-step", trunk | inside, True),
        ("tiny-step-trunk", trunk, False),
        ("tiny-step-mtp", alone, True),
    ):
        entries = [
            *metadata.text(TINY, "Tiny Step", "16x1M", mtp=mtp),
            *metadata.tokenizer(WORDS),
            *metadata.quantisation(HEADS_Q8_0.file_type),
        ]
        _write(folder / f"{name}.gguf", metadata.TEXT_ARCH, entries, HEADS_Q8_0, table)
    entries = metadata.vision(TINY_VISION, "Tiny Step vision", "1M", PROJECTOR_F16.file_type)
    path = folder / "mmproj-tiny-step.gguf"
    _write(path, metadata.VISION_ARCH, entries, PROJECTOR_F16, TINY_VISION.rows())


def _write(
    path: Path,
    arch: str,
    entries: list[metadata.MetadataEntry],
    recipe: ModelRecipe,
    table: Table,
) -> None:
    tensors = recipe.apply(table)
    files.write_weights(path, arch, entries, [(tensor, values(tensor)) for tensor in tensors])


def values(tensor: Tensor) -> Weights:
    """Make a tensor's values from its name, shape back to front: (out, in) for a matrix."""
    if tensor.name == "rope_freqs.weight":
        return rope_factors(TINY.head_dim)
    if "norm" in tensor.name or tensor.name.endswith(("ln.weight", "ln1.weight", "ln2.weight")):
        return np.ones(tensor.shape[::-1], np.float32)
    if tensor.name.endswith("shared_head_head.weight"):
        # Heads that read alike agree with the trunk now and then; trained ones have learned to.
        return values(replace(tensor, name="output.weight"))
    weights = _uniform(tensor)
    if tensor.name == "token_embd.weight":
        weights[:, : language.RESERVED] = language.embedding_part(WORDS)
    elif tensor.name == "output.weight":
        weights[language.steady_ids(WORDS)] = 0
        weights[:, : language.RESERVED] = language.output_part(WORDS)
    elif fnmatchcase(tensor.name, "blk.*.ffn_down*") or tensor.name.endswith("attn_output.weight"):
        weights[..., : language.RESERVED, :] = 0
    elif tensor.name.endswith("eh_proj.weight"):
        _pass_embedding(weights)
    return weights


def _uniform(tensor: Tensor) -> Weights:
    """Draw uniform values around zero from the tensor's own generator."""
    seed = hashlib.sha256(f"{SEED}/{tensor.name}".encode()).digest()
    raw = np.random.PCG64(int.from_bytes(seed)).random_raw(math.prod(tensor.shape))
    gain = next((g for pattern, g in _GAINS if fnmatchcase(tensor.name, pattern)), 1.0)
    # A convolution's kernel is (x, y, in, out), an expert matrix is (in, out, expert).
    convolution = len(tensor.shape) == 4
    inputs = math.prod(tensor.shape[:-1]) if convolution else tensor.shape[0]
    centred = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
    scaled: Weights = centred * np.float32(gain * math.sqrt(12 / inputs))
    return scaled.reshape(tensor.shape[::-1])


def _pass_embedding(weights: Weights) -> None:
    """Let an MTP head see the last token as the trunk does: the left half becomes the identity.

    The right half, which reads the trunk's state, stays random but leaves the grammar alone.
    """
    hidden = weights.shape[0]
    weights[:, hidden:] *= np.float32(0.2)
    weights[: language.RESERVED] = 0
    weights[:, :hidden] = np.eye(hidden, dtype=np.float32)


def rope_factors(head_dim: int) -> Weights:
    """Compute Llama-3 frequency factors for the full layers, which rotate half of each head.

    Numbers from the official config: base 5e6, factor 2 over 131,072 positions, low and high
    frequency factors 1 and 32. Rounded to six places, so that `pow` cannot differ by machine.
    Returns (head_dim / 2,); the second half, which no layer uses, is 1.
    """
    rotated, trained = head_dim // 2, 131_072
    factors = []
    for pair in range(head_dim // 2):
        if pair >= rotated // 2:
            factors.append(1.0)
            continue
        wavelength = 2 * math.pi * 5e6 ** (2 * pair / rotated)
        smooth = min(max((trained / wavelength - 1) / (32 - 1), 0.0), 1.0)
        factors.append(round(1 / ((1 - smooth) / 2 + smooth), 6))
    return np.array(factors, np.float32)
