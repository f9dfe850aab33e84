"""What is trained, and by what: Muon for matrices, AdamW for the rest, one long cosine.

Settings are those of the measured trial: AdamW at a fifth of Muon's rate or less, both run down to
5 % in one schedule. A later restart at a high rate loses what the run-down won.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from training.model import Weights

LAST = 0.05
"""Share of the first rate that is left at the end."""

WEIGHT_DECAY = 0.01

NOT_MATRICES = (
    "token_embd.weight",
    "v.position_embd.weight",
    "*.ffn_gate_inp.weight",
    "*.attn_gate.weight",
)
"""Tables and small choices, which Muon would spread over all directions alike."""


@dataclass(frozen=True)
class Trainable:
    """Weights as the optimisers take them: leaves of at most two dimensions.

    A convolution is one matrix, experts are a matrix each; `sizes` has the weights' own shapes.
    """

    leaves: Weights
    sizes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, weights: Weights, frozen: Iterable[str] = ()) -> Trainable:
        """Copy weights into leaves; those whose names match `frozen` take no gradient."""
        patterns = ("rope_freqs.weight", "*.exp_probs_b.bias", *frozen)
        leaves: Weights = {}
        for name, values in weights.items():
            learns = not any(fnmatchcase(name, pattern) for pattern in patterns)
            for key, part in _parts(name, values):
                leaves[key] = part.detach().clone().requires_grad_(learns)
        return cls(leaves, {name: tuple(values.shape) for name, values in weights.items()})

    def weights(self) -> Weights:
        """Put the weights together, by GGUF name; gradients flow back into the leaves."""
        whole: Weights = {}
        for name, size in self.sizes.items():
            if len(size) == 3:
                whole[name] = torch.stack([self.leaves[f"{name}:{i}"] for i in range(size[0])])
            else:
                whole[name] = self.leaves[name].view(size)
        return whole


def _parts(name: str, values: Tensor) -> list[tuple[str, Tensor]]:
    if values.ndim == 3:
        return [(f"{name}:{place}", part) for place, part in enumerate(values)]
    return [(name, values.flatten(1) if values.ndim == 4 else values)]


class Optimiser:
    """Muon and AdamW over the leaves of several parts, with one schedule."""

    def __init__(self, parts: Iterable[Weights], rate: float, adam: float) -> None:
        """Share leaves out; `rate` is Muon's first, `adam` AdamW's as a share of it."""
        learning = [
            (name, leaf) for part in parts for name, leaf in part.items() if leaf.requires_grad
        ]
        matrices = [leaf for name, leaf in learning if _is_matrix(name, leaf)]
        rest = [leaf for name, leaf in learning if not _is_matrix(name, leaf)]
        self._leaves = [leaf for _, leaf in learning]
        self._rates = (rate, adam * rate)
        self._both = (
            torch.optim.Muon(matrices, lr=rate, weight_decay=WEIGHT_DECAY),
            torch.optim.AdamW(rest, lr=adam * rate, betas=(0.9, 0.98), weight_decay=0.0),
        )

    def step(self, loss: Tensor, share: float) -> None:
        """Take a step down a loss; `share` of the schedule, 0 to 1, is over."""
        factor = LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._leaves, 1.0)
        for optimiser, rate in zip(self._both, self._rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        """Return what `restore` takes."""
        return [optimiser.state_dict() for optimiser in self._both]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Resume from a state."""
        for optimiser, known in zip(self._both, state, strict=True):
            optimiser.load_state_dict(known)


def fill(leaves: Weights, known: Weights) -> None:
    """Copy a checkpoint's leaves. Raises ValueError if they belong to another shape."""
    if leaves.keys() != known.keys():
        raise ValueError("the checkpoint belongs to a model of another shape")
    for name, leaf in leaves.items():
        leaf.data.copy_(known[name])


def _is_matrix(name: str, leaf: Tensor) -> bool:
    return leaf.ndim == 2 and not any(fnmatchcase(name, pattern) for pattern in NOT_MATRICES)
