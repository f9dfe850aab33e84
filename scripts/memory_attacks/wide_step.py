"""A Step that computes little and holds much: a whole ladder of gibibytes to go down.

Tiny Step with wide caches, many experts and a large vision encoder, in two quants, and a catalog
with it: the last rung, a smaller quant that is on the disk, exists for the catalog's models only.
"""

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from gguf.constants import GGMLQuantizationType

from runner.catalog import models_toml
from runner.cli.main import main
from runner.testbed import files, metadata, tiny_step
from runner.testbed.geometry import HEADS_Q8_0, PROJECTOR_F16, ModelRecipe, VisionGeometry

NAME: Final = "wide-step"
CATALOG: Final = "models.toml"
WIDE: Final = replace(
    tiny_step.TINY,
    layers=8,
    experts=288,
    expert_ffn=256,
    kv_heads=16,
    full_heads=16,
    sliding_heads=16,
    mtp_layers=0,
)
VISION: Final = VisionGeometry(width=256, ffn=8192, heads=4, layers=24, text_hidden=WIDE.hidden)
QUANTS: Final = {"F16": ModelRecipe(1, GGMLQuantizationType.F16), "Q8_0": HEADS_Q8_0}


def ensure(folder: Path) -> Path:
    """Write the model (1.3 GB) unless it is there; return its catalog."""
    files.ensure(folder, NAME, _write, also=Path(__file__))
    return folder / CATALOG


def use(catalog: Path) -> None:
    """Let the catalog of this process be that one, whose files lie beside it."""
    found = models_toml.read_catalog
    vars(models_toml).update(packaged=lambda _: catalog.parent, as_shipped=lambda: found(catalog))


def _write(folder: Path) -> None:
    for quant, recipe in QUANTS.items():
        entries = [
            *metadata.text(WIDE, "Wide Step", "400M", mtp=False),
            *metadata.tokenizer(tiny_step.WORDS),
            *metadata.quantisation(recipe.file_type),
        ]
        tensors = ((each, tiny_step.values(each)) for each in recipe.apply(WIDE.trunk()))
        path = folder / f"{NAME}-{quant}.gguf"
        files.write_weights(path, metadata.TEXT_ARCH, entries, tensors)
    entries = metadata.vision(VISION, "Wide Step vision", "100M", PROJECTOR_F16.file_type)
    seen = ((each, tiny_step.values(each)) for each in PROJECTOR_F16.apply(VISION.rows()))
    files.write_weights(folder / f"mmproj-{NAME}.gguf", metadata.VISION_ARCH, entries, seen)
    (folder / CATALOG).write_text(_catalog(folder), "utf-8")


def _catalog(folder: Path) -> str:
    lines = [
        *("[source.here]", 'folder = "here"', ""),
        *("[[model]]", f'name = "{NAME}"', 'title = "Wide Step"', 'licence = "Apache-2.0"'),
        *("sampling = { temp = 0.0, predict = 256 }", "demo = true", ""),
        *("[model.geometry]", f'arch = "{metadata.TEXT_ARCH}"', f"context = {WIDE.context}"),
        *(f"embedding = {WIDE.hidden}", f"vocab = {WIDE.vocabulary}"),
        *(f"feed_forward = {WIDE.dense_ffn}", f"layers = {WIDE.layers}", "full_every = 4"),
        *(f"sliding_window = {WIDE.window}", f"kv_heads = {WIDE.kv_heads}"),
        *(f"key_length = {WIDE.head_dim}", f"value_length = {WIDE.head_dim}"),
        *(f"experts = {WIDE.experts}", f"experts_used = {WIDE.experts_used}"),
        *(f"expert_feed_forward = {WIDE.expert_ffn}", ""),
        *("[model.projector]", 'source = "here"', *_file(folder / f"mmproj-{NAME}.gguf"), ""),
    ]
    for quality, quant in enumerate(reversed(QUANTS), 1):
        lines += ["[[model.quant]]", f'name = "{quant}"', 'source = "here"', f"quality = {quality}"]
        lines += [f"files = [{{ {', '.join(_file(folder / f'{NAME}-{quant}.gguf'))} }}]", ""]
    return "\n".join(lines)


def _file(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return (
        f"path = {json.dumps(path.name)}",
        f"bytes = {path.stat().st_size}",
        f'sha256 = "{digest}"',
    )


def _main() -> None:
    """`python -m memory_attacks.wide_step CATALOG WORDS`: steprun with that catalog."""
    use(Path(sys.argv[1]))
    sys.argv = ["steprun", *sys.argv[2:]]
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    main()


if __name__ == "__main__":
    _main()
