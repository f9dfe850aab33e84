"""Weights to begin with: those that training starts from, and those that tests compare with."""

from __future__ import annotations

import math

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
    if name.endswith("attn_output.weight") or ".ffn_down" in name:
        gain = (2 * sum(row.endswith("attn_output.weight") for row in table)) ** -0.5
    return torch.randn(size, generator=random) * gain / math.sqrt(_inputs(shape))


def _stirred(name: str, shape: Extents, random: torch.Generator) -> Tensor:
    size = shape[::-1]
    noise = torch.randn(size, generator=random)
    if name == "rope_freqs.weight":
        return _factors(shape)
    if name.endswith("exp_probs_b.bias"):
        return 0.2 * noise
    if name.endswith(".bias"):
        return 0.3 * noise
    if len(shape) == 1:
        return 0.7 + 0.6 * torch.rand(size, generator=random)
    if name in ("token_embd.weight", "v.position_embd.weight"):
        return noise
    # Wide enough for some gates to pass the limits of 7 and 16.
    gain = 4.0 if ".ffn_gate_" in name and "inp" not in name else 1.0
    return noise * gain / math.sqrt(_inputs(shape))


def _factors(shape: Extents) -> Tensor:
    return torch.from_numpy(rope_factors(2 * shape[0]))


def _inputs(shape: Extents) -> int:
    """Count what one output of a matrix adds up."""
    return math.prod(shape[:-1]) if len(shape) == 4 else shape[0]
