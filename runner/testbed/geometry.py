"""Tensor tables of Step-3.7-Flash's three files, from a few numbers and no quantisation.

A table has names and shapes; a `ModelRecipe` adds a type and so a size. The trunk's rows are in
the order of the official files (four globals, then each layer alphabetically),
because shard boundaries depend on that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import TypeAlias

from gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType

Shape: TypeAlias = tuple[int, ...]
"""Extents with the contiguous one first, as GGUF stores them: a linear layer is (in, out)."""

Table: TypeAlias = dict[str, Shape]
"""The tensors of a file by name, in their order, before anyone decided their types."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file."""

    name: str
    shape: Shape
    kind: GGMLQuantizationType

    @property
    def size(self) -> int:
        """Count the bytes of data, without padding."""
        block, block_bytes = GGML_QUANT_SIZES[self.kind]
        return prod(self.shape) // block * block_bytes

    @property
    def padded_size(self) -> int:
        """Count the bytes that the tensor takes in a file."""
        return -(-self.size // GGUF_DEFAULT_ALIGNMENT) * GGUF_DEFAULT_ALIGNMENT


@dataclass(frozen=True)
class ModelRecipe:
    """Which type each tensor of a quantisation has: the first pattern that matches decides.

    `file_type` is llama.cpp's number for `general.file_type`. Norms, router and biases are F32 in
    every recipe, as in the official files.
    """

    file_type: int
    matrices: GGMLQuantizationType
    exceptions: tuple[tuple[str, GGMLQuantizationType], ...] = ()

    def apply(self, table: Table) -> list[Tensor]:
        """Give every row its type."""
        return [Tensor(name, shape, self._kind(name, shape)) for name, shape in table.items()]

    def _kind(self, name: str, shape: Shape) -> GGMLQuantizationType:
        if len(shape) == 1 or name.endswith("ffn_gate_inp.weight"):
            return GGMLQuantizationType.F32
        matching = (kind for pattern, kind in self.exceptions if fnmatchcase(name, pattern))
        return next(matching, self.matrices)


@dataclass(frozen=True)
class TextGeometry:
    """The numbers of a Step language model.

    Every fourth trunk layer attends to everything; the rest, and all MTP layers, see a sliding
    window. The first `dense_layers` have a plain feed-forward block, later ones experts; an MTP
    layer is dense again.
    """

    hidden: int
    dense_ffn: int
    expert_ffn: int
    shared_ffn: int
    experts: int
    experts_used: int
    head_dim: int
    kv_heads: int
    full_heads: int
    sliding_heads: int
    vocabulary: int
    layers: int
    dense_layers: int
    mtp_layers: int
    window: int
    context: int

    def is_sliding(self, layer: int) -> bool:
        """Tell whether a layer sees only the window."""
        return layer >= self.layers or layer % 4 != 0

    def heads(self, layer: int) -> int:
        """Count the query heads of a layer."""
        return self.sliding_heads if self.is_sliding(layer) else self.full_heads

    def trunk(self) -> Table:
        """List the tensors of the main file without MTP heads."""
        table: Table = {
            "output.weight": (self.hidden, self.vocabulary),
            "output_norm.weight": (self.hidden,),
            "rope_freqs.weight": (self.head_dim // 2,),
            "token_embd.weight": (self.hidden, self.vocabulary),
        }
        for layer in range(self.layers):
            block = self._attention(layer)
            block |= self._experts() if layer >= self.dense_layers else self._dense()
            table |= {f"blk.{layer}.{name}": block[name] for name in sorted(block)}
        return table

    def heads_inside(self) -> Table:
        """List the MTP layers as they follow the trunk in one file."""
        return {
            f"blk.{layer}.{name}": shape
            for layer in range(self.layers, self.layers + self.mtp_layers)
            for name, shape in self._mtp().items()
        }

    def heads_alone(self) -> Table:
        """List the MTP layers as a file of their own, with its own embedding and output."""
        trunk = self.trunk()
        first = ("rope_freqs.weight", "output.weight", "token_embd.weight")
        last = {"output_norm.weight": trunk["output_norm.weight"]}
        return {name: trunk[name] for name in first} | self.heads_inside() | last

    def _attention(self, layer: int) -> Table:
        heads = self.heads(layer)
        return {
            "attn_gate.weight": (self.hidden, heads),
            "attn_k_norm.weight": (self.head_dim,),
            "attn_k.weight": (self.hidden, self.kv_heads * self.head_dim),
            "attn_output.weight": (heads * self.head_dim, self.hidden),
            "attn_q_norm.weight": (self.head_dim,),
            "attn_q.weight": (self.hidden, heads * self.head_dim),
            "attn_v.weight": (self.hidden, self.kv_heads * self.head_dim),
            "attn_norm.weight": (self.hidden,),
            "ffn_norm.weight": (self.hidden,),
        }

    def _dense(self) -> Table:
        return {
            "ffn_down.weight": (self.dense_ffn, self.hidden),
            "ffn_gate.weight": (self.hidden, self.dense_ffn),
            "ffn_up.weight": (self.hidden, self.dense_ffn),
        }

    def _experts(self) -> Table:
        return {
            "exp_probs_b.bias": (self.experts,),
            "ffn_down_exps.weight": (self.expert_ffn, self.hidden, self.experts),
            "ffn_down_shexp.weight": (self.shared_ffn, self.hidden),
            "ffn_gate_exps.weight": (self.hidden, self.expert_ffn, self.experts),
            "ffn_gate_inp.weight": (self.hidden, self.experts),
            "ffn_gate_shexp.weight": (self.hidden, self.shared_ffn),
            "ffn_up_exps.weight": (self.hidden, self.expert_ffn, self.experts),
            "ffn_up_shexp.weight": (self.hidden, self.shared_ffn),
        }

    def _mtp(self) -> Table:
        attention = self._attention(self.layers)
        return {
            "nextn.eh_proj.weight": (2 * self.hidden, self.hidden),
            "nextn.enorm.weight": (self.hidden,),
            "nextn.hnorm.weight": (self.hidden,),
            "attn_norm.weight": attention.pop("attn_norm.weight"),
            **self._dense(),
            "ffn_norm.weight": attention.pop("ffn_norm.weight"),
            **attention,
            "nextn.shared_head_norm.weight": (self.hidden,),
            "nextn.shared_head_head.weight": (self.hidden, self.vocabulary),
        }


@dataclass(frozen=True)
class VisionGeometry:
    """The numbers of a `step3vl` projector: a vision tower, two strided convolutions, a linear.

    `image` and `patch` are pixels. Each convolution halves both sides of the patch grid and
    doubles the channels, hence one token per (4 * patch)² pixels.
    """

    width: int
    ffn: int
    heads: int
    layers: int
    text_hidden: int
    image: int = 728
    patch: int = 14

    def rows(self) -> Table:
        """List the tensors of the projector file."""
        grid = self.image // self.patch
        table: Table = {
            "mm.0.bias": (2 * self.width,),
            "mm.0.weight": (3, 3, self.width, 2 * self.width),
            "mm.1.bias": (4 * self.width,),
            "mm.1.weight": (3, 3, 2 * self.width, 4 * self.width),
            "mm.model.fc.weight": (4 * self.width, self.text_hidden),
            "v.patch_embd.weight": (self.patch, self.patch, 3, self.width),
            "v.position_embd.weight": (self.width, grid * grid),
            "v.pre_ln.bias": (self.width,),
            "v.pre_ln.weight": (self.width,),
        }
        block = self._block()
        for layer in range(self.layers):
            table |= {f"v.blk.{layer}.{name}": shape for name, shape in block.items()}
        return table

    def _block(self) -> Table:
        vector = (self.width,)
        return {
            "attn_out.bias": vector,
            "attn_out.weight": (self.width, self.width),
            "attn_qkv.bias": (3 * self.width,),
            "attn_qkv.weight": (self.width, 3 * self.width),
            "ffn_down.bias": vector,
            "ffn_down.weight": (self.ffn, self.width),
            "ffn_up.bias": (self.ffn,),
            "ffn_up.weight": (self.width, self.ffn),
            "ln1.bias": vector,
            "ln1.weight": vector,
            "ln2.bias": vector,
            "ln2.weight": vector,
            "ls1.weight": vector,
            "ls2.weight": vector,
        }


PROJECTOR_F16 = ModelRecipe(
    file_type=1,
    matrices=GGMLQuantizationType.F16,
    exceptions=(("v.position_embd.weight", GGMLQuantizationType.F32),),
)
"""The converter keeps the learned positions in F32 whatever else it writes."""

HEADS_Q8_0 = ModelRecipe(file_type=7, matrices=GGMLQuantizationType.Q8_0)
"""The official MTP file; the tiny model uses it throughout."""
