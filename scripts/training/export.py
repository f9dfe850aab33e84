"""Writes weights as GGUF files with the test bed's keys and tensors, and reads such files back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from gguf.constants import GGMLQuantizationType as Kind
from gguf.gguf_reader import GGUFReader
from gguf.quants import dequantize

from runner.testbed import files, metadata
from runner.testbed.geometry import HEADS_Q8_0, PROJECTOR_F16, ModelRecipe, Tensor
from runner.testbed.vocabulary import Vocabulary
from training.model import Weights
from training.shape import Shape

Quant: TypeAlias = Literal["F16", "Q8_0"]

LANGUAGE: dict[Quant, ModelRecipe] = {
    "F16": ModelRecipe(file_type=1, matrices=Kind.F16),
    "Q8_0": HEADS_Q8_0,
}
VISION: dict[Quant, ModelRecipe] = {
    "F16": PROJECTOR_F16,
    # The rows of kernels are 3 and 14 values: no blocks of 32.
    "Q8_0": ModelRecipe(
        file_type=7,
        matrices=Kind.Q8_0,
        exceptions=(
            *PROJECTOR_F16.exceptions,
            *((f"{name}.weight", Kind.F16) for name in ("mm.0", "mm.1", "v.patch_embd")),
        ),
    ),
}


@dataclass(frozen=True)
class Label:
    """What a file calls its model: `general.name` and `general.size_label`."""

    name: str = "Tiny Step"
    size: str = "16x1M"


def write_language(
    path: Path,
    shape: Shape,
    weights: Weights,
    words: Vocabulary,
    quant: Quant = "F16",
    *,
    template: str | None = None,
    label: Label | None = None,
) -> None:
    """Write the main file, MTP heads inside.

    `template`: the chat template, if not the test bed's. Raises ValueError if the vocabulary has
    another size than the shape.
    """
    if len(words.tokens) != shape.text.vocabulary:
        raise ValueError(f"{len(words.tokens)} tokens in a model of {shape.text.vocabulary}")
    recipe, label = LANGUAGE[quant], label or Label()
    entries = [
        *metadata.text(shape.text, label.name, label.size, mtp=True),
        *(_with_template(entry, template) for entry in metadata.tokenizer(words)),
        *metadata.quantisation(recipe.file_type),
    ]
    _write(path, metadata.TEXT_ARCH, entries, recipe.apply(shape.language_table()), weights)


def write_vision(
    path: Path,
    shape: Shape,
    weights: Weights,
    quant: Quant = "F16",
    *,
    label: Label | None = None,
) -> None:
    """Write the projector file."""
    recipe, label = VISION[quant], label or Label("Tiny Step vision", "1M")
    entries = metadata.vision(shape.vision, label.name, label.size, recipe.file_type)
    _write(path, metadata.VISION_ARCH, entries, recipe.apply(shape.vision_table()), weights)


def read(path: Path) -> Weights:
    """Read the weights of a file, F32 whatever it stores: what the engine computes with."""
    return {
        tensor.name: torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in GGUFReader(path).tensors
    }


def _with_template(entry: metadata.MetadataEntry, template: str | None) -> metadata.MetadataEntry:
    if template is None or entry.key != "tokenizer.chat_template":
        return entry
    return replace(entry, value=template)


def _write(
    path: Path,
    arch: str,
    entries: Sequence[metadata.MetadataEntry],
    tensors: Sequence[Tensor],
    weights: Weights,
) -> None:
    arrays = ((tensor, weights[tensor.name].detach().float().numpy()) for tensor in tensors)
    files.write_weights(path, arch, entries, arrays)
