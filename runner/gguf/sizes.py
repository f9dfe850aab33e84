"""Sums up where the bytes of a model's weights lie, over the tensor tables of all its shards."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runner.catalog.model import WeightLayout
from runner.gguf.parse import Header
from runner.gguf.shape import layer_counts

_BLOCK = re.compile(r"blk\.(\d+)\.", re.ASCII)


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """A model's tensor bytes: the trunk, and draft heads that lie in the same files.

    `experts` is that part of the trunk which holds routed experts.
    """

    trunk: int
    mtp: int
    experts: int

    @property
    def total(self) -> int:
        """All tensors together."""
        return self.trunk + self.mtp


def layout(headers: Sequence[Header]) -> WeightLayout:
    """Sort the tensors of a model's shards (all of them) by where an engine may put them.

    Draft heads inside the main file are left out: llama.cpp spreads their layers like any others,
    but steprun accounts for them by themselves, as `WeightBytes.mtp`.
    """
    trunk, _ = layer_counts(headers)
    embedding = output = 0
    tied = True
    resident, experts = [0] * trunk, [0] * trunk
    for header in headers:
        for tensor in header.tensors:
            block = _BLOCK.match(tensor.name)
            if block is None:
                if tensor.name == "token_embd.weight":
                    embedding += tensor.bytes
                else:
                    output += tensor.bytes
                    tied = tied and tensor.name != "output.weight"
            elif int(block[1]) < trunk:
                kind = experts if "_exps." in tensor.name else resident
                kind[int(block[1])] += tensor.bytes
    return WeightLayout(embedding, output, tuple(resident), tuple(experts), tied)


def weights_bytes(headers: Sequence[Header]) -> WeightBytes:
    """Add up the tensors of a model's shards (all of them)."""
    trunk = layout(headers)
    everything = sum(tensor.bytes for header in headers for tensor in header.tensors)
    return WeightBytes(trunk.total, everything - trunk.total, sum(trunk.experts))
