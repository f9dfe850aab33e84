"""Hands the made-up world's conversations to the language model's stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.model import PICTURE, Weights
from training.shape import Shape
from training.stage_language import Example, Model, Texts
from training.vision import VisionEncoder, cut
from training.world import painting, rows, seeds, template, text, tokenizer, topics


@dataclass(frozen=True)
class Features:
    """Scenes by the kind of row that shows them, and the encoder's tokens [169, h] of each."""

    pools: dict[str, list[Any]] = field(default_factory=dict)
    tokens: dict[Any, npt.NDArray[np.float32]] = field(default_factory=dict)


SEEN, UNSEEN = seeds.TRAINING, seeds.EVALUATION

TALK = ("talk", "weather")
SEEING = ("picture", "talk", "picture", "pair", "zoom", "weather", "picture", "zoom")
"""Kinds of rows in turn, one kind a batch; text stays in, or it is forgotten."""

BATCH = {"weather": 4, "zoom": 4}
"""Rows a batch, 8 if not said: rows with tools are twice as long."""


def model(shape: Shape) -> Model:
    """Return what is trained: the stored vocabulary and the official template."""
    words = tokenizer.stored()
    official = template.OFFICIAL.read_text(encoding="utf-8")
    return Model(shape.with_vocabulary(len(words.tokens)), words, official)


def texts(
    kinds: Sequence[str], seen: Features | None = None, unseen: Features | None = None
) -> Texts:
    """Return rows to train on, and rows of the evaluation's seeds."""
    words = tokenizer.Tokenizer(tokenizer.stored())

    def batch(numbers: range, step: int, features: Features | None) -> list[Example]:
        kind, known = kinds[step % len(kinds)], features or Features()
        scenes = known.pools.get(kind, [])
        numbers = numbers[8 * step : 8 * step + BATCH.get(kind, 8)]
        return [_example(rows.row(words, number, kind, scenes), known) for number in numbers]

    return Texts(
        seen=lambda step, _share: batch(seeds.TRAINING, step, seen),
        unseen=lambda step: batch(seeds.EVALUATION, step, unseen),
        decisive=text.KINDS[1:],
    )


CHUNK = 512
"""Scenes a file of kept tokens, about a minute's: no more is lost where the encoding is stopped."""


def cached(encoder: VisionEncoder, numbers: Sequence[int], kept: Path | None = None) -> Features:
    """Encode the scenes of these seeds that rows of all kinds show, about 0.1 s each.

    `kept`: a folder to keep them in as they are made, and to take from it what is there.
    """
    pools = {kind: topics.pool(kind, numbers) for kind in ("picture", "pair", "zoom")}
    scenes = [scene for pool in pools.values() for scene in pool]
    chunks = [scenes[at : at + CHUNK] for at in range(0, len(scenes), CHUNK)]
    paths = [kept / f"{number:04d}.npy" if kept else None for number in range(len(chunks))]
    made = [_chunk(encoder, *each) for each in zip(chunks, paths, strict=True)]
    tokens = np.concatenate(made).astype(np.float32)
    return Features(pools, dict(zip(scenes, tokens, strict=True)))


def _chunk(
    encoder: VisionEncoder, scenes: Sequence[Any], path: Path | None
) -> npt.NDArray[np.float16]:
    if path is not None and path.exists():
        found: npt.NDArray[np.float16] = np.load(path)
        return found
    tokens = np.stack([_encoded(encoder, scene) for scene in scenes]).astype(np.float16)
    if path is not None:
        path.parent.mkdir(exist_ok=True)
        half = path.with_suffix(".half")
        with half.open("wb") as file:
            np.save(file, tokens)
        half.replace(path)
    return tokens


def unit_variance(weights: Weights, features: Features) -> Weights:
    """Fold a factor into the last linear layer: tokens then vary as embeddings do, by 1."""
    factor = 1 / float(np.std(np.stack([*features.tokens.values()])))
    name = "mm.model.fc.weight"
    return weights | {name: factor * weights[name]}


def _encoded(encoder: VisionEncoder, scene: Any) -> npt.NDArray[np.float32]:
    geometry = encoder.geometry
    patches = cut(torch.from_numpy(painting.paint(scene).copy())[None], geometry.patch)
    # Twice as fast where a processor has it (0.10 s), and off by 0.4 % of what tokens vary by.
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens = encoder.encode(patches, geometry.image // geometry.patch)[0]
    found: npt.NDArray[np.float32] = tokens.float().numpy()
    return found


def _example(row: Any, features: Features) -> Example:
    tokens, parts = row.tokens.copy(), []
    for slot in row.slots:
        part = features.tokens[slot.scene]
        tokens[slot.start : slot.start + len(part)] = PICTURE
        parts.append(part)
    seen = np.concatenate(parts) if parts else None
    return Example(tokens, row.positions, row.branches, row.learned, row.decisive, seen)
