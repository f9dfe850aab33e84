"""Scratch memory: what an engine holds beyond weights and caches, for each backend. Pure.

All sizes in bytes. What had to be measured says where and how.
"""

from dataclasses import dataclass
from typing import Final

from runner.catalog import Geometry
from runner.plan.cache import MIB, Config, pad, sliding_cells


@dataclass(frozen=True, slots=True)
class Costs:
    """How a backend spends memory beyond the model's own: the `[memory]` of its recipe.

    `overhead_mib`: process, libraries, driver context and pools.
    `staging`: the inputs of a graph lie in main memory and once more with the accelerator.
    `kv_copy`: whether attention over long prompts copies one layer's cache to f16: "never", for a
    "quantised" cache only, or "always". `alignment_bytes`: of each tensor; `row_padding`: elements
    to which a quantised tensor's last row is padded, 0 for none.
    """

    overhead_mib: int = 300
    staging: bool = False
    kv_copy: str = "never"
    alignment_bytes: int = 32
    row_padding: int = 0


def compute_bytes(geometry: Geometry, config: Config) -> int:
    """Return the graph's scratch memory.

    Three parts: the attention masks, f16, a row of cells for each token of a micro-batch; the
    activations, f32, for each token of it; the logits. The first two were read off the compute
    buffers that xllamacpp 11549 prints: for the full-size twin exactly, for SmolLM2 with 5 % to
    spare (`tests/engine` compares them).
    """
    g = geometry
    cells = pad(config.context)
    if any(layer.sliding for layer in g.layers):
        cells += sliding_cells(g, config) // config.parallel
    masks = 2 * cells * config.ubatch
    # Of a dense block: the residual stream and four tensors of its width. Of experts: what each
    # of the chosen ones puts out, before and after it is weighted.
    dense = 4 * g.feed_forward_length
    experts = g.experts_used * (2 * g.embedding_length + g.expert_feed_forward_length)
    activations = 4 * config.ubatch * (3 * g.embedding_length + max(dense, experts))
    logits = 4 * g.vocab_size * config.parallel
    return masks + activations + logits


def compute_mtp_bytes(geometry: Geometry, config: Config) -> int:
    """Return the scratch memory of the draft heads' own graph: one dense layer at a time.

    Exact for the full-size twin's heads (83.01 MiB, xllamacpp 11549).
    """
    g = geometry
    masks = 2 * sliding_cells(g, config) // config.parallel * config.ubatch
    activations = 4 * config.ubatch * (2 * g.embedding_length + 3 * g.feed_forward_length)
    return masks + activations + 4 * g.vocab_size * config.parallel


# The compute buffer of Step's vision tower on the CPU, where attention is computed in pieces:
# 130.20 MiB (full-size twin, xllamacpp 11549). Taken for any projector: others are smaller.
VISION_COMPUTE_BYTES: Final = int(130.2 * MIB)
# A backend without that holds all scores at once: 52 x 52 patches squared, 16 heads, f32. Not
# measured on any GPU yet; the larger figure is the safe one.
VISION_SCORES_BYTES: Final = (52 * 52) ** 2 * 16 * 4
# The engine beyond its buffers: interpreter, native library, vocabulary, threads. Measured on
# Linux x86-64 with xllamacpp 11549: 35 MiB of private memory for SmolLM2's 49,152 tokens. The rest
# is room for a vocabulary of 128,896 and for a GPU driver's context, which are not measured yet.
OVERHEAD_BYTES: Final = 300 * MIB
