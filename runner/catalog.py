"""The models that steprun knows: `models.toml`, read into frozen dataclasses.

Also `Geometry`, the few numbers of a model that decide how much memory its caches take; the
catalog states them for known models, a GGUF header for any other (`runner.weights.header`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """The attention of one layer, as its KV cache sees it (elements per token and head)."""

    kv_heads: int
    key_length: int
    value_length: int
    sliding: bool


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of a model.

    `layers`: the trunk's, in order. `mtp_layers`: the draft heads', empty where there are none.
    `sliding_window`: tokens, 0 where no layer slides. `experts`: per MoE layer, 0 if dense.
    """

    arch: str
    context_length: int
    embedding_length: int
    vocab_size: int
    layers: tuple[Layer, ...]
    sliding_window: int = 0
    mtp_layers: tuple[Layer, ...] = ()
    experts: int = 0
    feed_forward_length: int = 0
