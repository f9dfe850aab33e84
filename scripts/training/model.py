"""Step's language model in PyTorch, as llama.cpp computes it (`src/models/step35.cpp`).

In shapes, b is rows, n tokens in a row, h the hidden width, d a head's width. A row may hold
several conversations that share their beginning: branch 0 is what they share, and each
token of another branch sees branch 0 and its own. Positions continue from the shared part in each
branch, so that every branch is computed exactly as if it stood alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from runner.testbed.geometry import TextGeometry
from runner.testbed.metadata import CLAMPED_LAYERS

Weights: TypeAlias = dict[str, Tensor]
"""Tensors by GGUF name; a matrix is [out, in], experts are [expert, out, in]."""

Watch: TypeAlias = Callable[[int, Tensor, Tensor], None]
"""Told a layer, what its router chose by and the experts' shares, both [b, n, experts]."""

PICTURE = -1
"""In place of a token id: the embedding of a picture stands at this position."""

SHARED = 0
"""The branch that all others see."""

EPSILON = 1e-5
FULL_BASE, SLIDING_BASE = 5e6, 1e4
EXPERTS_SCALE = 3.0
EXPERT_LIMIT, SHARED_LIMIT = 7.0, 16.0
"""As in the test bed's metadata, which has the official file's values."""

SMALLEST_SUM = 6.103515625e-5
"""llama.cpp's guard when it divides by the sum of the chosen scores (`build_moe_ffn`)."""


@dataclass(frozen=True)
class Rows:
    """A batch. `tokens`, `positions` and `branches` are int64 [b, n]; padding: a branch below 0.

    `pictures` [b, n, h] is used where a token is `PICTURE`.
    """

    tokens: Tensor
    positions: Tensor
    branches: Tensor
    pictures: Tensor | None = None

    @classmethod
    def single(cls, tokens: Tensor, pictures: Tensor | None = None) -> Rows:
        """Make rows of one conversation each, tokens [b, n]."""
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return cls(tokens, positions, torch.zeros_like(tokens), pictures)


@dataclass(frozen=True)
class Reading:
    """What all layers share: who sees whom [b, 1, n, n], and rotations [b, n, 1, pairs]."""

    full: Tensor
    sliding: Tensor
    full_rotation: tuple[Tensor, Tensor]
    sliding_rotation: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Bank:
    """Other rows to take keys and values from: k times n inputs of a block, [b, k * n, h].

    `seen` tells which of them each token sees, [b, 1, n, k * n]; positions repeat.
    """

    inputs: Tensor
    seen: Tensor


def visible(rows: Rows, window: int) -> tuple[Tensor, Tensor]:
    """Tell whom each token sees in full and in sliding layers, bool [b, n, n] (query, key)."""
    length = rows.tokens.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=rows.tokens.device).tril()
    keys = rows.branches[:, None, :]
    full = earlier & ((rows.branches[:, :, None] == keys) | (keys == SHARED))
    near = rows.positions[:, :, None] - rows.positions[:, None, :] < window
    return full, full & near


@dataclass(frozen=True)
class LanguageModel:
    """The trunk and its MTP heads."""

    geometry: TextGeometry
    weights: Weights

    def read(self, rows: Rows) -> Reading:
        """Prepare masks and rotations."""
        full, sliding = visible(rows, self.geometry.window)
        size = self.geometry.head_dim
        factors = self.weights["rope_freqs.weight"][: size // 4]
        return Reading(
            full[:, None],
            sliding[:, None],
            rotation(rows.positions, size // 2, FULL_BASE, factors),
            rotation(rows.positions, size, SLIDING_BASE),
        )

    def embed(self, rows: Rows) -> Tensor:
        """Return the embeddings [b, n, h], of pictures too."""
        embedded = F.embedding(rows.tokens.clamp(min=0), self.weights["token_embd.weight"])
        if rows.pictures is None:
            return embedded
        seen = (rows.tokens == PICTURE)[..., None]
        return torch.where(seen, rows.pictures.to(embedded.dtype), embedded)

    def states(self, embedded: Tensor, reading: Reading, watch: Watch | None = None) -> Tensor:
        """Run the trunk: [b, n, h] to [b, n, h], before the output norm (what MTP heads take)."""
        x = embedded
        for layer in range(self.geometry.layers):
            x = self._block(layer, x, reading, watch=watch)
        return x

    def logits(self, states: Tensor) -> Tensor:
        """Return the trunk's logits [b, n, vocabulary]."""
        normed = self._norm("output_norm", states)
        return F.linear(normed, self.weights["output.weight"])

    def head_states(self, head: int, embedded: Tensor, before: Tensor, reading: Reading) -> Tensor:
        """Run one MTP head over [b, n, h]: tokens' embeddings, and the states before them.

        `before[:, t]` is the trunk's state at t - 1 (zeros for t = 0); only for tokens that were
        drafted is it the previous head's.
        """
        return self.head_block(head, self.head_input(head, embedded, before), reading)

    def head_input(self, head: int, embedded: Tensor, before: Tensor) -> Tensor:
        """Join embeddings and the states before them, [b, n, h], to what a head's block takes."""
        name = f"blk.{self.geometry.layers + head}.nextn"
        pair = self._norm(f"{name}.enorm", embedded), self._norm(f"{name}.hnorm", before)
        return F.linear(torch.cat(pair, -1), self.weights[f"{name}.eh_proj.weight"])

    def head_block(
        self, head: int, x: Tensor, reading: Reading, bank: Bank | None = None
    ) -> Tensor:
        """Run a head's block over what it takes, [b, n, h]."""
        return self._block(self.geometry.layers + head, x, reading, bank=bank)

    def head_logits(self, head: int, states: Tensor) -> Tensor:
        """Return what head number `head` expects after each token, [b, n, vocabulary]."""
        name = f"blk.{self.geometry.layers + head}.nextn"
        normed = self._norm(f"{name}.shared_head_norm", states)
        return F.linear(normed, self.weights[f"{name}.shared_head_head.weight"])

    def _block(
        self,
        layer: int,
        x: Tensor,
        reading: Reading,
        watch: Watch | None = None,
        bank: Bank | None = None,
    ) -> Tensor:
        name = f"blk.{layer}"
        x = x + self._attention(layer, x, reading, bank)
        normed = self._norm(f"{name}.ffn_norm", x)
        if f"{name}.ffn_gate_inp.weight" in self.weights:
            return x + self._experts(layer, normed, watch) + self._feed_forward(layer, normed)
        return x + self._feed_forward(layer, normed)

    def _attention(self, layer: int, x: Tensor, reading: Reading, bank: Bank | None) -> Tensor:
        geometry, name = self.geometry, f"blk.{layer}"
        x = self._norm(f"{name}.attn_norm", x)
        sliding = geometry.is_sliding(layer)
        seen = reading.sliding if sliding else reading.full
        turn = key_turn = reading.sliding_rotation if sliding else reading.full_rotation
        sources = x
        if bank is not None:
            sources, seen = self._norm(f"{name}.attn_norm", bank.inputs), bank.seen
            times = sources.shape[1] // x.shape[1]
            key_turn = (turn[0].repeat(1, times, 1, 1), turn[1].repeat(1, times, 1, 1))

        def split(part: str, of: Tensor) -> Tensor:
            weight = self.weights[f"{name}.attn_{part}.weight"]
            return F.linear(of, weight).unflatten(-1, (-1, geometry.head_dim))

        queries = rotate(self._norm(f"{name}.attn_q_norm", split("q", x)), *turn)
        keys = rotate(self._norm(f"{name}.attn_k_norm", split("k", sources)), *key_turn)
        values = split("v", sources)
        group = geometry.heads(layer) // geometry.kv_heads
        mixed = F.scaled_dot_product_attention(
            queries.to(values.dtype).transpose(1, 2),
            keys.to(values.dtype).transpose(1, 2).repeat_interleave(group, 1),
            values.transpose(1, 2).repeat_interleave(group, 1),
            seen,
        )
        gate = torch.sigmoid(F.linear(x, self.weights[f"{name}.attn_gate.weight"]))
        gated = mixed.transpose(1, 2) * gate[..., None]
        return F.linear(gated.flatten(-2), self.weights[f"{name}.attn_output.weight"])

    def _feed_forward(self, layer: int, x: Tensor) -> Tensor:
        """Run the dense block of a layer, or its shared expert: [b, n, h] to [b, n, h]."""
        kind = "_shexp" if f"blk.{layer}.ffn_gate_shexp.weight" in self.weights else ""
        gate, up, down = (
            self.weights[f"blk.{layer}.ffn_{part}{kind}.weight"] for part in ("gate", "up", "down")
        )
        limit = SHARED_LIMIT if self._is_clamped(layer) else None
        return F.linear(_gated(F.linear(x, gate), F.linear(x, up), limit), down)

    def _experts(self, layer: int, x: Tensor, watch: Watch | None) -> Tensor:
        """Run the routed experts as one wide block: columns of experts not chosen are times 0."""
        gate, up, down = (
            self.weights[f"blk.{layer}.ffn_{part}_exps.weight"] for part in ("gate", "up", "down")
        )
        shares = self._route(layer, x, watch)
        limit = EXPERT_LIMIT if self._is_clamped(layer) else None
        wide = _gated(F.linear(x, gate.flatten(0, 1)), F.linear(x, up.flatten(0, 1)), limit)
        weighed = wide.unflatten(-1, gate.shape[:2]) * shares[..., None].to(wide.dtype)
        return F.linear(weighed.flatten(-2), down.transpose(0, 1).flatten(1))

    def _route(self, layer: int, x: Tensor, watch: Watch | None) -> Tensor:
        """Return the experts' shares [b, n, experts]: chosen by score + bias, weighed by score."""
        name = f"blk.{layer}"
        scores = torch.sigmoid(F.linear(x, self.weights[f"{name}.ffn_gate_inp.weight"]))
        by = scores + self.weights[f"{name}.exp_probs_b.bias"]
        chosen = by.topk(self.geometry.experts_used, -1).indices
        kept = torch.zeros_like(scores).scatter(-1, chosen, scores.gather(-1, chosen))
        shares = EXPERTS_SCALE * kept / kept.sum(-1, keepdim=True).clamp(min=SMALLEST_SUM)
        if watch:
            watch(layer, by.detach(), shares.detach())
        return shares

    def _is_clamped(self, layer: int) -> bool:
        return self.geometry.layers - CLAMPED_LAYERS <= layer < self.geometry.layers

    def _norm(self, name: str, x: Tensor) -> Tensor:
        # In the input's type, or bfloat16 takes a slow path.
        weight = self.weights[f"{name}.weight"].to(x.dtype)
        return F.rms_norm(x, weight.shape, weight, EPSILON)


def rotation(
    positions: Tensor, size: int, base: float, factors: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [b, n, 1, size / 2] for positions [b, n].

    `factors` divide the angles of each pair (`rope_freqs.weight`).
    """
    pairs = torch.arange(0, size, 2, device=positions.device)
    speeds = base ** (-pairs.double() / size)
    if factors is not None:
        speeds = speeds / factors.double()
    # Doubles: at 100,000 tokens a float's angle is off by a hundredth.
    angles = positions[..., None, None].double() * speeds
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate the first dimensions of each head, [b, n, heads, d]: pairs (i, i + size / 2)."""
    half = cosines.shape[-1]
    cosines, sines = cosines.to(x.dtype), sines.to(x.dtype)
    one, two, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((one * cosines - two * sines, one * sines + two * cosines, rest), -1)


def shifted(states: Tensor) -> Tensor:
    """Return the state before each token: [b, n, h] moved by one, zeros first."""
    return F.pad(states, (0, 0, 1, 0))[:, :-1]


def _gated(gate: Tensor, up: Tensor, limit: float | None) -> Tensor:
    """Multiply silu(gate) by up; a limit bounds the first from above, the second on both sides."""
    if limit is None:
        return F.silu(gate) * up
    return F.silu(gate).clamp(max=limit) * up.clamp(-limit, limit)
