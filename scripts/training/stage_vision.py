"""Stage 3: the vision encoder alone learns what each of its 169 tokens shows.

A small head, thrown away afterwards, reads from every token: what stands with its centre in the
token's cell, in which colour, and what covers the cell. Colours come first and need no attention;
shapes and digits need both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from training import export
from training.initial import starting
from training.loop import Moment
from training.model import Weights
from training.optimise import Optimiser, Trainable, fill
from training.shape import Shape
from training.vision import VisionEncoder, cut

Grid: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """A picture [728, 728, 3] and its labels [13, 13] each; 0 is nothing."""

    pixels: npt.NDArray[np.uint8]
    centre_class: Grid
    centre_colour: Grid
    cover_class: Grid


@dataclass(frozen=True)
class Pictures:
    """Where pictures come from: each is made from its number alone, and a difficulty, 0 to 1.

    `seen` makes those that are trained on and `unseen` others; `groups` names ranges of classes
    that are scored each by itself.
    """

    seen: Callable[[int, float], Labelled]
    unseen: Callable[[int], Labelled]
    classes: int
    colours: int
    groups: dict[str, Sequence[int]]


@dataclass(frozen=True)
class Settings:
    """Measured settings; `blind` and `whole` are shares of the schedule.

    Until `blind` there is no attention; from `whole` on it looks at every patch, in between at
    `keys` of them. Difficulty rises until `hardest`.
    """

    batch: int = 8
    rate: float = 0.02
    adam: float = 0.15
    blind: float = 0.08
    whole: float = 0.92
    keys: float = 0.15
    hardest: float = 0.5
    probe: int = 192
    unseen: int = 64


NOTHING_CENTRE, NOTHING_COVER, SMALL_TOKENS = 0.2, 0.3, 0.001
"""Weights in the loss: of cells where nothing is, and of the tokens' mean square."""


class VisionStage:
    """Trains the encoder and the head that reads it."""

    name = "vision"

    def __init__(
        self, shape: Shape, pictures: Pictures, seed: int, settings: Settings | None = None
    ) -> None:
        """Start from a seed."""
        self._shape, self._pictures, self._seed = shape, pictures, seed
        self._settings = settings or Settings()
        # The encoder may export at any time: attention that is off has a layer scale of 0.
        weights = starting(shape.vision_table(), seed)
        for name in weights:
            if name.endswith("ls1.weight"):
                weights[name] = torch.zeros_like(weights[name])
        self._encoder = Trainable.of(weights)
        self._probe = Trainable.of(self._new_probe())
        self._optimiser = Optimiser(
            (self._encoder.leaves, self._probe.leaves), self._settings.rate, self._settings.adam
        )

    def step(self, moment: Moment) -> float:
        """Train on one batch and return its loss."""
        settings = self._settings
        difficulty = min(moment.share / settings.hardest, 1.0)
        first = moment.step * settings.batch
        batch = [self._pictures.seen(first + i, difficulty) for i in range(settings.batch)]
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self._tokens(batch, self._keys(moment))
            parts = self._read(tokens)
        loss = self._loss(parts, batch) + SMALL_TOKENS * tokens.float().square().mean()
        self._optimiser.step(loss, moment.share)
        return float(loss.detach())

    def scores(self) -> dict[str, float]:
        """Measure by exact cell, with full attention: a lower bound, edges of cells count."""
        right: dict[str, list[bool]] = {name: [] for name in (*self._pictures.groups, "colour")}
        right["covered"] = []
        keys = None if self._sees() else torch.arange(0)
        for number in range(self._settings.unseen):
            one = self._pictures.unseen(number)
            with torch.no_grad():
                parts = self._read(self._tokens([one], keys))
            centre, colour, cover = (part[0].argmax(-1).numpy() for part in parts)
            truth, covered = one.centre_class.ravel(), one.cover_class.ravel()
            for name, members in self._pictures.groups.items():
                right[name].extend((centre == truth)[np.isin(truth, members)])
            right["colour"].extend((colour == one.centre_colour.ravel())[truth > 0])
            right["covered"].extend((cover == covered)[covered > 0])
        return {name: round(float(np.mean(hits or [False])), 4) for name, hits in right.items()}

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        parts = {"encoder": self._encoder.leaves, "probe": self._probe.leaves}
        return {"seed": self._seed, "optimiser": self._optimiser.state()} | parts

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state. Raises ValueError if it began from another seed."""
        if state["seed"] != self._seed:
            raise ValueError(f"the checkpoint began from seed {state['seed']}, not {self._seed}")
        for trainable, known in ((self._encoder, "encoder"), (self._probe, "probe")):
            fill(trainable.leaves, state[known])
        self._optimiser.restore(state["optimiser"])

    def export(self, folder: Path) -> None:
        """Write the projector file."""
        weights = self._encoder.weights()
        export.write_vision(folder / "mmproj-tiny-step.gguf", self._shape, weights)

    def _keys(self, moment: Moment) -> Tensor | None:
        """Return the patches that attention may look at in this step."""
        settings, patches = self._settings, len(self._encoder.leaves["v.position_embd.weight"])
        if moment.share < settings.blind:
            return torch.arange(0)
        if not self._sees():
            for name, leaf in self._encoder.leaves.items():
                if name.endswith("ls1.weight"):
                    leaf.data.fill_(0.1)
        if moment.share >= settings.whole:
            return None
        random = torch.Generator().manual_seed(self._seed + moment.step)
        return torch.randperm(patches, generator=random)[: round(settings.keys * patches)]

    def _sees(self) -> bool:
        return bool(self._encoder.leaves["v.blk.0.ls1.weight"].any())

    def _tokens(self, batch: Sequence[Labelled], keys: Tensor | None) -> Tensor:
        geometry = self._shape.vision
        # Cut as bytes, which is cheap.
        pixels = torch.from_numpy(np.stack([one.pixels for one in batch]))
        encoder = VisionEncoder(geometry, self._encoder.weights())
        return encoder.encode(cut(pixels, geometry.patch), geometry.image // geometry.patch, keys)

    def _new_probe(self) -> Weights:
        sizes = {"in": (self._settings.probe, self._shape.vision.text_hidden)}
        sizes["out"] = (sum(self._widths()), self._settings.probe)
        random = torch.Generator().manual_seed(self._seed + 1)
        return {
            name: torch.randn(size, generator=random) / size[1] ** 0.5
            for name, size in sizes.items()
        }

    def _widths(self) -> tuple[int, int, int]:
        return self._pictures.classes, self._pictures.colours, self._pictures.classes

    def _read(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Read tokens [b, 169, h]: logits of centre class, colour and covering class."""
        probe = self._probe.leaves
        read: tuple[Tensor, ...] = (
            F.linear(F.gelu(F.linear(tokens, probe["in"])), probe["out"])
            .float()
            .split(self._widths(), -1)
        )
        return read

    def _loss(self, parts: tuple[Tensor, ...], batch: Sequence[Labelled]) -> Tensor:
        centre, colour, cover = (
            torch.from_numpy(np.stack([getattr(one, name).ravel() for one in batch]).astype(int))
            for name in ("centre_class", "centre_colour", "cover_class")
        )
        of_centre = torch.ones(self._pictures.classes)
        of_cover = of_centre.clone()
        of_centre[0], of_cover[0] = NOTHING_CENTRE, NOTHING_COVER
        return (
            F.cross_entropy(parts[0].flatten(0, 1), centre.flatten(), of_centre)
            + F.cross_entropy(parts[1].flatten(0, 1), colour.flatten(), ignore_index=0)
            + F.cross_entropy(parts[2].flatten(0, 1), cover.flatten(), of_cover)
        )
