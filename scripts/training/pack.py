"""Makes the files that steprun ships of trained ones: laid out as StepFun's are, in two precisions.

The trunk in F16 and in Q8_0; the MTP heads as a file of their own in Q8_0, since they only guess
and the trunk decides; and the projector that the trunk was trained with. Nothing here needs
PyTorch. What `models.toml` says of the files is renewed with them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf.constants import GGMLQuantizationType as Kind
from gguf.gguf_reader import GGUFReader
from gguf.quants import dequantize

from runner.base.paths import packaged, shipped
from runner.testbed import files, metadata
from runner.testbed.geometry import HEADS_Q8_0, ModelRecipe
from training.shape import TRAINED
from training.world import template, tokenizer

if TYPE_CHECKING:
    from runner.testbed.geometry import Table

PLACE = packaged("testbed/trained")
HEADS = "tiny-step-mtp-Q8_0.gguf"
PROJECTOR = "mmproj-tiny-step.gguf"
MATRICES = {"F16": ModelRecipe(file_type=1, matrices=Kind.F16), "Q8_0": HEADS_Q8_0}


@dataclass(frozen=True)
class Packed:
    """A file that was made, with what `models.toml` says of it."""

    path: Path
    bytes: int
    sha256: str


def pack(weights: Path, projector: Path, folder: Path = PLACE) -> list[Packed]:
    """Write the files of a training: `weights` with the heads inside, and its projector.

    The projector is the scaled one: a trunk reads no other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for tensor in GGUFReader(weights).tensors
    }
    words = tokenizer.stored()
    shape = TRAINED.with_vocabulary(len(words.tokens)).text
    parts: list[tuple[str, ModelRecipe, Table, bool]] = [
        (f"tiny-step-{name}.gguf", recipe, shape.trunk(), False)
        for name, recipe in MATRICES.items()
    ]
    parts.append((HEADS, HEADS_Q8_0, shape.heads_alone(), True))
    for name, recipe, table, mtp in parts:
        entries = [
            *metadata.text(shape, "Tiny Step", "16x1M", mtp=mtp),
            *template.tokenizer_metadata(words),
            *metadata.quantisation(recipe.file_type),
        ]
        tensors = ((tensor, found[tensor.name]) for tensor in recipe.apply(table))
        files.write_weights(folder / name, metadata.TEXT_ARCH, entries, tensors)
    shutil.copyfile(projector, folder / PROJECTOR)
    return [_packed(folder / name) for name in (*(part[0] for part in parts), PROJECTOR)]


def renew(packed: list[Packed], catalog: Path | None = None) -> None:
    """Write the size and the sha256 of each file into `models.toml`.

    Raises ValueError where it does not name one of them.
    """
    place = catalog or shipped("models.toml")
    text = place.read_text(encoding="utf-8")
    for each in packed:
        name = re.escape(each.path.name)
        known = rf'(?s)(path = "{name}".*?bytes = )[\d_]+(.*?sha256 = ")[0-9a-f]*'
        text, count = re.subn(known, rf"\g<1>{each.bytes:_}\g<2>{each.sha256}", text)
        if count != 1:
            raise ValueError(f"{place} does not name {each.path.name} once")
    place.write_text(text, encoding="utf-8")


def _packed(path: Path) -> Packed:
    content = path.read_bytes()
    return Packed(path, len(content), hashlib.sha256(content).hexdigest())
