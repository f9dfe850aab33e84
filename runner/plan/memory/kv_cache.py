"""The KV cache: its cells and bytes, by llama.cpp's own rules. Pure.

All sizes in bytes. Every formula is checked in the tests against the engine's own log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runner.catalog.model import Geometry, Layer

# ggml block sizes: bytes per 32 elements.
KV_BLOCK_BYTES: Final = {"f16": 64, "q8_0": 34}
KV_ELEMENTS: Final = 32
# How many snapshots of the sliding layers a slot keeps to go back to. The engine makes up to three
# with each request: where the last message begins, and twice near the end of the prompt. When the
# list is full it drops what lies closer to its predecessor than the step, and then the oldest,
# which is the end of the system prompt (`create_checkpoint`, server-context.cpp). So four are the
# least with which that one and those of the last message stay. With eight, five lie between: an
# edit anywhere reads at most a fifth of the context again. (llama-server's default: 32.)
CHECKPOINTS: Final = 8
LEAST_CHECKPOINTS: Final = 4
CHECKPOINTS_A_REQUEST: Final = 3
# Closer together they would cut prefill into pieces smaller than its batches.
LEAST_STEP: Final = 1024
# Draft tokens at a time. Step has three chained heads; owners of a Spark reported the best speed
# with two (the third guess is seldom right).
MTP_TOKENS: Final = 2
PAD: Final = 256  # llama.cpp rounds cells up to this


@dataclass(frozen=True, slots=True)
class Config:
    """The decisions that cost memory.

    `context`: in tokens, of each slot; with `shared` of all of them together (`--kv-unified`), any
    one of which may take it up. `spare`: slots beside those, over the same cache
    (`--kv-unified`), so that a request for something else costs no conversation its cache.
    """

    context: int
    kv_type: str = "f16"
    ubatch: int = 512
    parallel: int = 1
    projector: bool = False
    mtp: bool = False
    checkpoints: int = CHECKPOINTS
    cache_ram_mib: int = 0
    shared: bool = False
    spare: int = 0

    @property
    def slots(self) -> int:
        """How many conversations the engine holds."""
        return self.parallel + self.spare

    @property
    def unified(self) -> bool:
        """Whether all slots are in one cache."""
        return self.shared or self.spare > 0

    @property
    def streams(self) -> int:
        """How many caches there are side by side: one for each slot, or one for all."""
        return 1 if self.unified else self.parallel

    @property
    def checkpoint_step(self) -> int:
        """How far apart checkpoints lie, in tokens, so that all of a full context stay.

        With the least there are none between the first and those of the last message.
        """
        between = max(1, self.checkpoints - CHECKPOINTS_A_REQUEST)
        return max(LEAST_STEP, -(-self.context // between))


def pad(cells: int) -> int:
    """Round cells up as llama.cpp does."""
    return -(-cells // PAD) * PAD


def layer_bytes(layer: "Layer", kv_type: str) -> int:
    """Return the bytes that one token takes in one layer's cache (keys and values)."""
    elements = layer.kv_heads * (layer.key_length + layer.value_length) + layer.index_length
    return elements * KV_BLOCK_BYTES[kv_type] // KV_ELEMENTS


def full_cells(config: Config) -> int:
    """Return the cells of a full-attention layer, all slots together."""
    return pad(config.context) * config.streams


def sliding_cells(geometry: "Geometry", config: Config) -> int:
    """Return the cells of a sliding layer, all slots together.

    llama.cpp keeps the window and one micro-batch for each slot; of a cache that slots share, the
    window of each and one micro-batch (`llama_kv_cache_iswa`).
    """
    windows = geometry.sliding_window * (config.slots if config.unified else 1)
    cells = pad(min(pad(config.context), windows + config.ubatch))
    return cells * config.streams


def layer_kv_bytes(geometry: "Geometry", layer: "Layer", config: Config) -> int:
    """Return one layer's cache and recurrent state, all slots together."""
    cells = sliding_cells(geometry, config) if layer.sliding else full_cells(config)
    return layer_bytes(layer, config.kv_type) * cells + layer_state_bytes(layer, config)


def layer_state_bytes(layer: "Layer", config: Config) -> int:
    """Return one layer's recurrent state, all slots together.

    With draft heads one more for each drafted token, to go back to where one is rejected
    (`n_rs_seq` of llama-memory-recurrent.cpp).
    """
    return layer.state_bytes * config.slots * (1 + MTP_TOKENS * config.mtp)


def kv_state_bytes(geometry: "Geometry", config: Config) -> int:
    """Return the recurrent state of the trunk."""
    return sum(layer_state_bytes(layer, config) for layer in geometry.layers)


def kv_full_bytes(geometry: "Geometry", config: Config) -> int:
    """Return the full-attention cache of the trunk."""
    per_token = sum(layer_bytes(x, config.kv_type) for x in geometry.layers if not x.sliding)
    return per_token * full_cells(config)


def kv_sliding_bytes(geometry: "Geometry", config: Config) -> int:
    """Return the sliding-window cache of the trunk."""
    per_token = sum(layer_bytes(x, config.kv_type) for x in geometry.layers if x.sliding)
    return per_token * sliding_cells(geometry, config) if per_token else 0


def kv_mtp_bytes(geometry: "Geometry", config: Config) -> int:
    """Return the draft heads' own cache: f16 whatever the trunk's type."""
    f16 = replace(config, kv_type="f16")
    sliding = sum(layer_bytes(x, "f16") for x in geometry.mtp_layers if x.sliding)
    full = sum(layer_bytes(x, "f16") for x in geometry.mtp_layers if not x.sliding)
    return sliding * sliding_cells(geometry, f16) + full * full_cells(f16)


def checkpoint_bytes(geometry: "Geometry", config: Config) -> int:
    """Return one context checkpoint: what one slot's sliding caches hold of the window itself.

    Not of the micro-batch's cells beside it: what attention can no longer see is left out
    (`llama_kv_cache::state_write`). A cell's position and sequence take 12 bytes more. Seen for
    tiny Step: 1.506 MiB f16, 0.803 q8_0, 3.012 f16 with draft heads (xllamacpp 11549). A recurrent
    state is kept whole.
    """
    return _window_bytes(geometry, config, sliding_cells(geometry, config) // config.streams)


def _window_bytes(geometry: "Geometry", config: Config, tokens: int) -> int:
    """Return what the sliding caches hold after so many tokens, recurrent states included."""
    window = min(geometry.sliding_window, tokens)
    trunk = sum(layer_bytes(x, config.kv_type) for x in geometry.layers if x.sliding)
    heads = sum(layer_bytes(x, "f16") for x in geometry.mtp_layers if x.sliding) * config.mtp
    kept = [per_token for per_token in (trunk, heads) if per_token]
    state = sum(layer.state_bytes for layer in geometry.layers)
    return window * (sum(kept) + 12 * len(kept)) + state


def saved_bytes(
    geometry: "Geometry", config: Config, tokens: int, checkpoints: Sequence[int]
) -> int:
    """Return what a saved slot is on the disk: its cache, its checkpoints, and its tokens.

    `checkpoints`: after how many tokens each was made. Of a full layer every token's keys and
    values, of a sliding one those of the window. Beside them, 12 bytes for each cell and 4 for the
    number of each token; a file has up to 8 KiB more (sizes and types, for each layer). Draft heads
    add only what checkpoints hold of them.
    """
    full = sum(layer_bytes(x, config.kv_type) for x in geometry.layers if not x.sliding)
    sliding = _window_bytes(geometry, replace(config, mtp=False), tokens)
    kept = sum(_window_bytes(geometry, config, at) for at in checkpoints)
    return tokens * (full + 12 + 4) + sliding + kept
