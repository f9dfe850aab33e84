"""Weights to begin with: those that training starts from, and those that tests compare with."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from runner.testbed.geometry import Shape as Extents
from runner.testbed.geometry import Table
from runner.testbed.tiny_step import rope_factors
from training.model import Weights


def starting(table: Table, seed: int) -> Weights:
    """Draw weights to train from: norms are ones, biases zeros, matrices keep the variance.

    What adds to the residual stream starts small: the more layers, the smaller.
    """
    random = torch.Generator().manual_seed(seed)
    return {name: _starting(name, shape, table, random) for name, shape in table.items()}


def stirred(table: Table, seed: int) -> Weights:
    """Draw weights in which every tensor matters, so that a comparison sees each mistake.

    Norms, biases and layer scales are none of them neutral, and some activations are clamped.
    """
    random = torch.Generator().manual_seed(seed)
    return {name: _stirred(name, shape, random) for name, shape in table.items()}


def _starting(name: str, shape: Extents, table: Table, random: torch.Generator) -> Tensor:
    size = shape[::-1]
    if name == "rope_freqs.weight":
        return _factors(shape)
    if name.endswith(("ls1.weight", "ls2.weight")):
        return torch.full(size, 0.1)
    if name.endswith(".bias"):
        return torch.zeros(size)
    if len(shape) == 1:
        return torch.ones(size)
    if name in ("token_embd.weight", "v.position_embd.weight"):
        return torch.randn(size, generator=random) * (1.0 if name[0] == "t" else 0.02)
    gain = 1.0
    # In the vision encoder its layer scales do this.
    if name.startswith("blk.") and (name.endswith("attn_output.weight") or ".ffn_down" in name):
        gain = (2 * sum(row.endswith("attn_output.weight") for row in table)) ** -0.5
    return torch.randn(size, generator=random) * gain / math.sqrt(_inputs(shape))


def _stirred(name: str, shape: Extents, random: torch.Generator) -> Tensor:
    size = shape[::-1]
    noise = torch.randn(size, generator=random)
    if name == "rope_freqs.weight":
        return 1 + torch.rand(size, generator=random)
    if name.endswith("exp_probs_b.bias"):
        return 0.2 * noise
    if name.endswith(".bias"):
        return 0.3 * noise
    gain = next((gain for pattern, gain in _STIRRED if fnmatchcase(name, pattern)), 1.0)
    if len(shape) == 1:
        return gain * (0.7 + 0.6 * torch.rand(size, generator=random))
    if name in ("token_embd.weight", "v.position_embd.weight"):
        return noise
    return noise * gain / math.sqrt(_inputs(shape))


_STIRRED = (
    # Attention that looks at few places: one more or less in the window then shows.
    ("*.attn_q_norm.weight", 1.5),
    ("*.attn_qkv.weight", 1.5),
    # Wide enough for the limits of 7 and 16, and then narrow, for the stream to stay as it is.
    ("*.ffn_gate_exps.weight", 4.0),
    ("*.ffn_up_exps.weight", 4.0),
    ("*.ffn_down_exps.weight", 1 / 8),
    ("*.ffn_gate_shexp.weight", 10.0),
    ("*.ffn_up_shexp.weight", 10.0),
    ("*.ffn_down_shexp.weight", 1 / 50),
)
"""Standard deviation of a stirred tensor's values times the square root of its inputs, if not 1."""


def _factors(shape: Extents) -> Tensor:
    return torch.from_numpy(rope_factors(2 * shape[0]))


def _inputs(shape: Extents) -> int:
    """Count what one output of a matrix adds up."""
    return math.prod(shape[:-1]) if len(shape) == 4 else shape[0]
