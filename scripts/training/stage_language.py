"""Stages 4 to 6: the trunk learns text and tools, then cached pictures; the heads come last.

A trunk stage leaves the MTP heads alone, a head stage everything else. Mean loss flatters, since
most tokens are fixed wording: the scores are those of the tokens that decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from runner.testbed.vocabulary import Vocabulary
from training import export, heads
from training.initial import starting
from training.loop import Moment
from training.model import PICTURE, LanguageModel, Rows, Watch, Weights
from training.optimise import Optimiser, Trainable, fill
from training.shape import Shape

IGNORED = -100
PADDING = -1
"""A target that is not learned, and the branch of what fills a row up."""

BIAS_STEP = 0.002
"""By which a router's bias moves towards experts that are chosen too rarely, each step."""

Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Example:
    """A row of n tokens, each array (n,); `PICTURE` where the embedding of a picture stands.

    `learned`: the token is to be predicted, from the element before it. `decisive`: which kind of
    deciding token it is, 0 for wording. `pictures` [m, h]: the embeddings, in their order.
    """

    tokens: Ints
    positions: Ints
    branches: Ints
    learned: npt.NDArray[np.bool_]
    decisive: Ints
    pictures: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Model:
    """What is trained: its sizes, its words, and the chat template, if not the test bed's."""

    shape: Shape
    words: Vocabulary
    template: str | None = None


@dataclass(frozen=True)
class Texts:
    """Where batches come from, each from its number alone; `decisive` names its kinds from 1 on."""

    seen: Callable[[int, float], Sequence[Example]]
    unseen: Callable[[int], Sequence[Example]]
    decisive: Sequence[str]


@dataclass(frozen=True)
class Settings:
    """Measured rates: 0.02 for text, 0.01 for pictures after it, 0.015 for heads.

    `name` tells the stages in one folder apart.
    """

    name: str = "text"
    part: Literal["trunk", "heads"] = "trunk"
    rate: float = 0.02
    adam: float = 0.2
    unseen: int = 4


@dataclass(frozen=True)
class Batch:
    """Examples side by side; `targets` and `decisive` [b, n] belong to the token after each."""

    rows: Rows
    targets: Tensor
    decisive: Tensor


class LanguageStage:
    """Trains the trunk or the heads."""

    def __init__(
        self,
        model: Model,
        texts: Texts,
        seed: int,
        settings: Settings | None = None,
        start: Weights | None = None,
    ) -> None:
        """Start from a seed, or from weights that an earlier stage left."""
        self._model, self._shape = model, model.shape
        self._texts, self._seed, self._settings = texts, seed, settings or Settings()
        self.name = self._settings.name
        weights = start or starting(self._shape.language_table(), seed)
        mine = [f"blk.{self._shape.text.layers + head}.*" for head in range(self._heads)]
        if self._settings.part == "heads" and start:
            weights = weights | self._read_as_the_trunk(weights)
        others = [name for name in weights if not name.startswith(tuple(m[:-1] for m in mine))]
        frozen = others if self._settings.part == "heads" else mine
        self._trainable = Trainable.of(weights, frozen)
        self._optimiser = Optimiser(
            (self._trainable.leaves,), self._settings.rate, self._settings.adam
        )

    @property
    def _heads(self) -> int:
        return self._shape.text.mtp_layers

    def step(self, moment: Moment) -> float:
        """Train on one batch and return its loss."""
        batch = collate(self._texts.seen(moment.step, moment.share), self._shape.text.hidden)
        loads: dict[int, Tensor] = {}

        def watch(layer: int, _by: Tensor, shares: Tensor) -> None:
            loads[layer] = (shares[batch.rows.branches != PADDING] > 0).float().mean(0)

        logits = self._logits(batch.rows, watch)
        loss = torch.stack(
            [
                F.cross_entropy(one.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
                for one in logits
            ]
        ).mean()
        self._optimiser.step(loss, moment.share)
        if self._settings.part == "trunk":
            for layer, load in loads.items():
                bias = self._trainable.leaves[f"blk.{layer}.exp_probs_b.bias"]
                bias.data += BIAS_STEP * torch.sign(load.mean() - load)
        return float(loss.detach())

    def scores(self) -> dict[str, float]:
        """Measure how many tokens are right, all and by kind; of heads, for each of them."""
        names = ("learned", *self._texts.decisive)
        hits: dict[str, list[bool]] = {}
        for number in range(self._settings.unseen):
            batch = collate(self._texts.unseen(number), self._shape.text.hidden)
            with torch.no_grad():
                logits = self._logits(batch.rows)
            for head, one in enumerate(logits):
                prefix = f"head {head}, " if self._settings.part == "heads" else ""
                right = one.argmax(-1) == batch.targets
                for kind, name in enumerate(names):
                    where = batch.targets != IGNORED
                    where &= (batch.decisive == kind) if kind else True
                    hits.setdefault(prefix + name, []).extend(right[where].tolist())
        return {name: round(float(np.mean(right or [False])), 4) for name, right in hits.items()}

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        leaves = self._trainable.leaves
        return {"seed": self._seed, "optimiser": self._optimiser.state(), "model": leaves}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state. Raises ValueError if it began from another seed."""
        if state["seed"] != self._seed:
            raise ValueError(f"the checkpoint began from seed {state['seed']}, not {self._seed}")
        fill(self._trainable.leaves, state["model"])
        self._optimiser.restore(state["optimiser"])

    def export(self, folder: Path) -> None:
        """Write the main file, which the next stage starts from."""
        path = folder / f"tiny-step-{self.name}.gguf"
        model, weights = self._model, self._trainable.weights()
        export.write_language(path, model.shape, weights, model.words, template=model.template)

    def _logits(self, rows: Rows, watch: Watch | None = None) -> list[Tensor]:
        """Return the trunk's logits, or those of each head, [b, n, vocabulary] each."""
        model = LanguageModel(self._shape.text, self._trainable.weights())
        if self._settings.part == "trunk":
            return [model.logits(model.states(model.embed(rows), model.read(rows), watch))]
        with torch.no_grad():
            states = model.states(model.embed(rows), model.read(rows))
        outs = heads.chain(model, rows, states)
        return [model.head_logits(head, out) for head, out in enumerate(outs)]

    def _read_as_the_trunk(self, weights: Weights) -> Weights:
        """Let heads that begin to learn read their states with the trunk's output matrix."""
        names = {"shared_head_head": "output", "shared_head_norm": "output_norm"}
        return {
            f"blk.{self._shape.text.layers + head}.nextn.{own}.weight": weights[f"{trunk}.weight"]
            for head in range(self._heads)
            for own, trunk in names.items()
        }


def collate(examples: Sequence[Example], hidden: int) -> Batch:
    """Put examples side by side, filled up to the longest."""
    size = len(examples), max(len(one.tokens) for one in examples)
    tokens, positions, decisive = (torch.zeros(size, dtype=torch.long) for _ in range(3))
    branches, targets = torch.full(size, PADDING), torch.full(size, IGNORED)
    pictures = torch.zeros(*size, hidden)
    for place, one in enumerate(examples):
        n = len(one.tokens)
        wanted = np.where(one.learned, one.tokens, IGNORED)
        for kept, given in (
            (tokens[place, :n], one.tokens),
            (positions[place, :n], one.positions),
            (branches[place, :n], one.branches),
            (targets[place, : n - 1], wanted[1:]),
            (decisive[place, : n - 1], one.decisive[1:]),
        ):
            kept.copy_(torch.from_numpy(given.astype(np.int64)))
        if one.pictures is not None:
            pictures[place, tokens[place] == PICTURE] = torch.from_numpy(one.pictures)
    return Batch(Rows(tokens, positions, branches, pictures), targets, decisive)
