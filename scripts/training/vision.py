"""Step's vision encoder in PyTorch, as llama.cpp computes it (`tools/mtmd/models/step3vl.cpp`).

In shapes, b is pictures, p patches (rows and columns of the grid, row by row), w the width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from runner.testbed.geometry import VisionGeometry
from training.model import Weights, rotation

CROP = 504
"""Side of a crop in pixels; larger pictures are cut into such squares beside the overview."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's pixel statistics, as in the projector file."""

EPSILON = 1e-5
BASE = 1e4
MIDDLE = 128.0
"""Subtracted from pixels: exact in bfloat16, where the bytes alone would cost a digit."""


def cut(pixels: Tensor, patch: int) -> Tensor:
    """Cut pixels [b, height, width, 3], 0 to 255, into patches [b, p, 3 * patch * patch].

    A patch is (channel, y, x). The type stays: cut bytes before they become floats.
    """
    height, width = pixels.shape[1:3]
    grid = pixels.unflatten(2, (width // patch, patch)).unflatten(1, (height // patch, patch))
    return grid.permute(0, 1, 3, 5, 2, 4).flatten(3).flatten(1, 2)


@dataclass(frozen=True)
class VisionEncoder:
    """The encoder, its two convolutions and the linear layer to the language model."""

    geometry: VisionGeometry
    weights: Weights

    def encode(self, patches: Tensor, columns: int, keys: Tensor | None = None) -> Tensor:
        """Encode patches [b, p, 3 * patch * patch] (0 to 255) as tokens [b, p / 16, hidden].

        `columns`: patches in a row of the grid. `keys`: indices of the patches that attention may
        look at, for training; with none of them it is left out, as where its layer scale is 0.
        """
        weights, rows = self.weights, patches.shape[1] // columns
        size = self.geometry.width // self.geometry.heads
        turn = turns(rows, columns, size, patches.device)
        x = self._embed(patches) + positions(weights["v.position_embd.weight"], rows, columns)
        x = self._norm("v.pre_ln", x)
        for layer in range(self.geometry.layers):
            name = f"v.blk.{layer}"
            if keys is None or len(keys):
                mixed = self._attention(name, self._norm(f"{name}.ln1", x), turn, keys)
                x = x + mixed * weights[f"{name}.ls1.weight"]
            wide = self._linear(f"{name}.ffn_up", self._norm(f"{name}.ln2", x))
            wide = wide * torch.sigmoid(1.702 * wide)  # QuickGELU
            x = x + self._linear(f"{name}.ffn_down", wide) * weights[f"{name}.ls2.weight"]
        grid = x.transpose(1, 2).unflatten(2, (rows, columns))
        for name in ("mm.0", "mm.1"):
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            grid = F.conv2d(grid, weight, bias, stride=2, padding=1)
        return F.linear(grid.flatten(2).transpose(1, 2), weights["mm.model.fc.weight"])

    def _embed(self, patches: Tensor) -> Tensor:
        """Embed patches as [b, p, w], the pixel statistics folded into the weights."""
        weight = self.weights["v.patch_embd.weight"]
        mean, std = weight.new_tensor(MEAN), weight.new_tensor(STD)
        scaled = weight / (255 * std[None, :, None, None])
        offset = (weight * ((MIDDLE / 255 - mean) / std)[None, :, None, None]).sum((1, 2, 3))
        return F.linear(patches.to(weight.dtype) - MIDDLE, scaled.flatten(1), offset)

    def _attention(
        self, name: str, x: Tensor, turn: tuple[Tensor, Tensor], keys: Tensor | None
    ) -> Tensor:
        joined = self._linear(f"{name}.attn_qkv", x).unflatten(-1, (3, self.geometry.heads, -1))
        queries, looked_at, values = joined.unbind(2)
        queries, looked_at = _turn(queries, *turn), _turn(looked_at, *turn)
        if keys is not None:
            looked_at, values = looked_at[:, keys], values[:, keys]
        mixed = F.scaled_dot_product_attention(
            *(part.to(x.dtype).transpose(1, 2) for part in (queries, looked_at, values))
        )
        return self._linear(f"{name}.attn_out", mixed.transpose(1, 2).flatten(-2))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), EPSILON)


def positions(learned: Tensor, rows: int, columns: int) -> Tensor:
    """Return the learned positions [p, w], interpolated where the grid is not the trained one."""
    side = round(learned.shape[0] ** 0.5)
    if (rows, columns) == (side, side):
        return learned
    grid = learned.T.unflatten(1, (side, side))[None]
    resized = F.interpolate(grid, (rows, columns), mode="bilinear", antialias=True)
    return resized[0].flatten(1).T


def turns(
    rows: int, columns: int, size: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [p, 1, size / 2]: first the pairs turned by x, then by y."""
    place = torch.arange(rows * columns, device=device)
    across, down = (
        rotation(axis[None], size // 2, BASE) for axis in (place % columns, place // columns)
    )
    cosines, sines = (torch.cat((across[i], down[i]), -1)[0] for i in (0, 1))
    return cosines, sines


def _turn(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate heads [b, p, heads, d]: neighbours (2i, 2i + 1) are pairs."""
    one, two = x[..., 0::2], x[..., 1::2]
    return torch.stack((one * cosines - two * sines, one * sines + two * cosines), -1).flatten(-2)
