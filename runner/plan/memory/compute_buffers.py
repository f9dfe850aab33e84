"""Compute buffers and overhead: what an engine holds beyond weights and caches. Pure.

All sizes in bytes. The formulas follow the graphs of llama.cpp (src/llama-graph.cpp,
src/models/step35.cpp) and the order in which ggml-alloc.c places their tensors;
`scripts/check_ledger` compares them with the engine's own figures.
"""

from dataclasses import dataclass
from typing import Final, Literal

from msgspec import Struct

from runner.base.units import MIB
from runner.catalog.model import Geometry
from runner.plan.memory.kv_cache import MTP_TOKENS, Config, full_cells, pad, sliding_cells

F32: Final = 4
F16: Final = 2
# The widest queries seen in a full-attention layer, in widths of the model: Step's 64 heads of 128
# for 4096. A geometry does not tell; where it matters (attention at its peak) more is safe.
QUERY_WIDTHS: Final = 2
# What a recurrent layer holds at its widest, in widths of its convolution; see `_recurrent`.
RECURRENT_WIDTHS: Final = 6
# With several devices that compute in turn, each input is kept so often, so that the next
# micro-batch may be written while this one is read (GGML_SCHED_MAX_COPIES, ggml/CMakeLists.txt).
INPUT_COPIES: Final = 4
# llama.cpp makes room for so many nodes in a graph: 8 for each tensor of the file, and at least
# 1024 (`llama_context::graph_max_nodes`); for a vision encoder 8192 (`clip_ctx`, clip.cpp).
NODES_PER_TENSOR: Final = 8
MIN_NODES: Final = 1024
VISION_NODES: Final = 8192
# Three graphs that are kept take 417 bytes a node each (`llm_graph_result`), an encoder's 378.
NODE_BYTES: Final = 3 * 417
VISION_NODE_BYTES: Final = 378
# A cell's position, shift and place in a picture (16 bytes) and which of 256 sequences it belongs
# to; once it is used, an entry in each of two sets (llama-kv-cells.h).
CELL_BYTES: Final = 48
USED_CELL_BYTES: Final = 2 * 48
# The largest picture as numbers (f32, three colours): Step's overview of 728 x 728 and 36 crops of
# 504 x 504. The engine keeps it with the conversation's tokens (`mtmd_input_chunk`).
PICTURE_BYTES: Final = 3 * F32 * (728**2 + 36 * 504**2)
# One word of the vocabulary: its text, the tables from text to number and back, and its merge.
# 439 bytes for the full-size twin (xllamacpp 11549, Linux).
WORD_BYTES: Final = 440
# What a second context for the draft heads adds besides what is counted apart: 5 to 12 MiB were
# seen with tiny Step, about as many with the full-size twin.
HEADS_BYTES: Final = 5 * MIB
BATCH: Final = 2048  # `--batch-size`, unless a micro-batch is larger


class Costs(Struct, frozen=True, forbid_unknown_fields=True):
    """How a backend spends memory beyond the model's own: the `[memory]` of its recipe.

    `overhead_mib`: the process and its libraries. `device_mib`: the driver's context and pools, on
    each device.
    `staging`: the inputs of a graph lie in main memory and once more with the accelerator.
    `kv_copy`: whether attention over long prompts copies one layer's cache to f16: "never", for a
    "quantised" cache only, or "always".
    """

    overhead_mib: int = 32
    device_mib: int = 0
    staging: bool = False
    kv_copy: Literal["never", "quantised", "always"] = "never"


_PLAIN: Final = Costs()


@dataclass(frozen=True, slots=True)
class Vision:
    """The shape of a vision encoder: pixels and patches along an edge, and its two widths."""

    image: int
    patch: int
    width: int
    feed_forward: int


STEP_VISION: Final = Vision(image=728, patch=14, width=1536, feed_forward=8960)


def batch(config: Config) -> int:
    """Return how many tokens the engine is handed at a time (`--batch-size`)."""
    return max(BATCH, config.ubatch)


def compute_bytes(
    geometry: Geometry, config: Config, costs: Costs = _PLAIN, devices: int = 1
) -> int:
    """Return the graph's scratch memory, on each of several devices.

    The inputs of a graph (masks, embeddings, positions) are placed first. Behind them lies what
    is alive at the worst moment: in the attention of the last full layer, which needs the large
    mask; in a feed-forward block, which needs it only where a full layer is still to come; or at
    the end, when there is nothing left but the logits.
    """
    g = geometry
    tokens = _tokens(config)
    row = F32 * tokens
    # The residual stream comes in twice: as embeddings of pictures, and mixed with those of text.
    # With an accelerator that happens in main memory, and the result is copied over.
    width = (1 if costs.staging else 2) * g.embedding_length
    full, sliding = _masks(g, config)
    inputs = row * width + _indices(g, config) + sliding
    attention = full + row * _attention(g, config) + _attention_extra(g, config, costs)
    later = full if _last_full(g) else 0
    logits = full + row * g.embedding_length + F32 * g.vocab_size * outputs(config)
    feed_forward = later + row * _feed_forward(g, gone=not later)
    worst = max(attention, feed_forward, full + row * _recurrent(g), logits)
    copies = (INPUT_COPIES - 1) * (inputs + full) if devices > 1 else 0
    return inputs + worst + copies


def compute_mtp_bytes(geometry: Geometry, config: Config) -> int:
    """Return the scratch memory of the draft heads' own graph: one dense layer at a time.

    A head takes the trunk's last state and the embedding of the token that was drawn. Its queries
    are three widths wide (96 heads of 128 for 4096), and are there twice while they are normed.
    """
    g = geometry
    row = F32 * _tokens(config)
    dense = 2 * g.embedding_length + 3 * g.feed_forward_length
    attention = 2 * g.embedding_length + 2 * 3 * g.embedding_length
    logits = F32 * g.vocab_size * config.slots
    return _mtp_inputs(g, config) + max(row * max(dense, attention), logits)


def staging_bytes(geometry: Geometry, config: Config, costs: Costs, devices: int = 1) -> int:
    """Return what a graph's inputs take in main memory before they go to the accelerator.

    The token embedding is looked up there (its weights never leave main memory): the residual
    stream is there three times.
    """
    if not costs.staging:
        return 0
    stream = 3 * F32 * _tokens(config) * geometry.embedding_length
    copies = INPUT_COPIES if devices > 1 else 1
    return copies * (sum(_masks(geometry, config)) + stream + _indices(geometry, config))


def staging_mtp_bytes(geometry: Geometry, config: Config, costs: Costs) -> int:
    """Return what the draft heads' inputs take in main memory, as `staging_bytes`.

    The heads have a token embedding of their own there. Exact for the twin's (17, 35 and 74 MiB
    with 512, 1024 and 2048 tokens at a time), as the engine accounts for them over RPC.
    """
    if not costs.staging:
        return 0
    stream = 2 * F32 * _tokens(config) * geometry.embedding_length
    return stream + _mtp_inputs(geometry, config)


def handed_bytes(geometry: Geometry, config: Config, devices: int) -> int:
    """Return what each device but the first needs to take over from the one before it.

    The residual stream, as often as any input. Exact for the twin on four devices (32 MiB with 512
    tokens at a time, 128 with 2048), as the engine accounts for them over RPC.
    """
    copies = INPUT_COPIES if devices > 1 else 0
    return copies * F32 * _tokens(config) * geometry.embedding_length


def weights_copy_bytes(layer_experts: int) -> int:
    """Return what a card needs beside experts that stay in main memory.

    For a prompt (32 tokens or more) llama.cpp copies them to the card, one of a layer's three
    tensors at a time (`op_offload`; ggml-backend.cpp starts a new split for each, so that their
    memory is used again). One of the three may be of a larger type than the others: half is safe.
    """
    return -(-layer_experts // 2)


def vision_bytes(vision: Vision = STEP_VISION) -> int:
    """Return the scratch memory of the vision encoder for one picture of its own size.

    The picture, f32; of each patch its two coordinates; and then either the picture cut into
    patches, f16, or the widest moment of a layer: twice its width, and the feed-forward block's.
    Exact for the full-size twin (130.20 MiB, xllamacpp 11549) and the tiny one (9.12 MiB).

    No scores: llama.cpp turns flash attention on for it wherever the backend can, and CUDA,
    Metal and Vulkan all can for heads of 96 (ggml-cuda/fattn.cu, ggml-metal-device.m, and any
    multiple of 8 in ggml-vulkan.cpp).
    """
    v = vision
    patches = (v.image // v.patch) ** 2
    cut = F16 * 3 * v.patch**2
    layer = F32 * (2 * v.width + v.feed_forward)
    return _picture(v) + patches * (2 * F32 + max(cut, layer))


def overhead_bytes(
    geometry: Geometry, config: Config, costs: Costs, vision: Vision = STEP_VISION
) -> int:
    """Return what the engine's process holds beyond its buffers.

    The process itself; its words, twice with draft heads; its plans of the graphs; its tables of
    cells; what each slot's next token is drawn from; on the processor, room to round a
    micro-batch's activations before they are multiplied.
    """
    g, heads = geometry, config.mtp
    # Logits for each output; candidates (12 bytes each), and all ids once more (4). The heads keep
    # logits, probabilities and candidates of their own.
    words = F32 * outputs(config) + 12 * config.slots + 4 + 16 * config.slots * heads
    # The trunk's last states of a batch, for the heads.
    states = (F32 * g.embedding_length * batch(config) + HEADS_BYTES) * heads
    images = VISION_NODES * VISION_NODE_BYTES + 3 * _picture(vision) if config.projector else 0
    return (
        costs.overhead_mib * MIB
        + g.vocab_size * (words + WORD_BYTES * (1 + heads))
        + nodes(g, config) * NODE_BYTES
        + CELL_BYTES * cells(g, config)
        + filled_bytes(g, config)
        + states
        + images
        + prefill_bytes(g, config, costs, batch(config))
    )


def prefill_bytes(geometry: Geometry, config: Config, costs: Costs, tokens: int) -> int:
    """Return the part of the overhead that prefill of so many tokens takes.

    The processor rounds activations before it multiplies them: 292 bytes for 256 (Q8_K). With
    experts also a list of its tokens for each of them, as long as it could ever be, 8 bytes an
    entry (`ggml_graph_plan`, ggml-cpu.c). For draft heads the trunk's states are taken, split, and
    handed in.
    """
    g = geometry
    widest = max(g.feed_forward_length, g.experts_used * g.expert_feed_forward_length)
    rounding = widest * 292 // 256 + 8 * g.experts * g.experts_used
    handed = 3 * F32 * g.embedding_length * config.mtp
    at_once = min(tokens, _tokens(config))
    return (0 if costs.staging else at_once * rounding) + min(tokens, batch(config)) * handed


def filled_bytes(geometry: Geometry, config: Config) -> int:
    """Return the part of the overhead that a long conversation fills: cells, and an image.

    An image stays in the conversation, and is held twice while it is encoded.
    """
    return USED_CELL_BYTES * cells(geometry, config) + 2 * PICTURE_BYTES * config.projector


def cells(geometry: Geometry, config: Config) -> int:
    """Return the cells of all caches, layers aside; draft heads have as many, used or not."""
    sliding = sliding_cells(geometry, config) if geometry.sliding_window else 0
    return (full_cells(config) + sliding) * (1 + config.mtp)


def outputs(config: Config) -> int:
    """Return for how many tokens a graph gives logits: each slot's last, and its drafts."""
    return config.slots * (1 + MTP_TOKENS * config.mtp)


def _picture(vision: Vision) -> int:
    """Return a picture of the encoder's own size, f32."""
    return 3 * F32 * vision.image**2


def _tokens(config: Config) -> int:
    """Return the tokens of a micro-batch; a context may be shorter.

    As many for each slot: llama.cpp rounds up (`llama_context::graph_reserve`).
    """
    tokens = min(config.ubatch, full_cells(config))
    return -(-tokens // config.slots) * config.slots


def _masks(g: Geometry, config: Config) -> tuple[int, int]:
    """Return the masks of full and of sliding attention: f16, a row of cells for each token."""
    each = F16 * _tokens(config)
    full = each * pad(config.context) if _full(g) else 0
    slides = g.sliding_window > 0
    return full, each * sliding_cells(g, config) // config.streams if slides else 0


def _mtp_inputs(g: Geometry, config: Config) -> int:
    full, sliding = _masks(g, config)
    near = all(layer.sliding for layer in g.mtp_layers)
    return (sliding if near else sliding + full) + 24 * _tokens(config) + 32


def _indices(g: Geometry, config: Config) -> int:
    """Return the small inputs, for each token: its number and its position, where it goes.

    Twice: text and pictures mixed. For each cache two cells, i64; of a quantised cache also the
    matrices that rotate keys and values before they are rounded.
    """
    caches = 1 + (g.sliding_window > 0)
    rotations = F32 * (_side(g) ** 2 + 64 * 64) * caches if config.kv_type != "f16" else 0
    last = -(-F32 * outputs(config) // 32) * 32  # which tokens' logits are wanted
    return _tokens(config) * (20 + 16 * caches) + rotations + last


def _side(g: Geometry) -> int:
    """Return the side of the matrix that rotates keys: the largest 64 x 2^n that divides a head."""
    length = max(layer.key_length for layer in g.layers)
    side = 64
    while length and length % (2 * side) == 0:
        side *= 2
    return side


def _full(g: Geometry) -> list[int]:
    """Return which layers attend to everything."""
    return [index for index, layer in enumerate(g.layers) if layer.full]


def _last_full(g: Geometry) -> int:
    return _full(g)[-1] if _full(g) else 0


def _attention(g: Geometry, config: Config) -> int:
    """Return the elements per token while a full layer attends.

    The residual stream, its norm, a gap, and the queries before and after their own norm; of a
    quantised cache all that is rotated: queries, keys, and values before and after.
    """
    stream = g.embedding_length
    queries = max(stream if g.arch == "llama" else QUERY_WIDTHS * stream, g.query_width)
    keys = max((x.kv_heads * max(x.key_length, x.value_length) for x in g.layers), default=0)
    rotated = queries + 3 * keys if config.kv_type != "f16" else 0
    return 2 * stream + max(stream + 2 * queries, rotated)


def _attention_extra(g: Geometry, config: Config, costs: Costs) -> int:
    """Return what an accelerator's attention needs of its own: a copy of one layer's cache, f16.

    CUDA and HIP copy a quantised one (`ggml_cuda_flash_attn_ext_get_alloc_size`). Metal reserves
    a copy of any (`ggml_metal_op_flash_attn_ext_extra_kv_f16`), and for 32 groups of 32 tokens the
    partial results of each query head (`..._extra_tmp`: a head's values and two numbers).
    """
    layers = [layer for layer in g.layers if layer.full]
    quantised = config.kv_type != "f16"
    if costs.kv_copy == "never" or (costs.kv_copy == "quantised" and not quantised) or not layers:
        return 0
    per_cell = max(x.kv_heads * (x.key_length + x.value_length) for x in layers)
    partial = 0
    if costs.kv_copy == "always":
        # Latent attention has no values of its own: what it sums up are its keys.
        head = max(x.value_length or x.key_length for x in layers)
        partial = F32 * 32 * 32 * QUERY_WIDTHS * g.embedding_length * (head + 2) // head
    return F16 * per_cell * full_cells(config) + partial


def _feed_forward(g: Geometry, *, gone: bool) -> int:
    """Return the elements per token at the worst moment of a feed-forward block.

    Dense: gate, up and their product. Experts: the same for each of the chosen, and what they put
    out. Beside them the residual stream, its norm, and gaps which attention left behind and into
    which none of these fits: one width, with experts two (read off the placements of 14 shapes of
    llama, qwen3, qwen3moe and step35). `gone`: the large mask is needed no more, and the norm and
    one of the experts' tensors find room in its place.
    """
    stream, each = g.embedding_length, g.expert_feed_forward_length
    dense = 3 * (stream + g.feed_forward_length)
    experts = 4 * stream + g.experts_used * (stream + 3 * each)
    if gone:
        experts -= stream + g.experts_used * each
    return max(dense, experts if g.experts else 0)


def _recurrent(g: Geometry) -> int:
    """Return the elements per token while a recurrent layer mixes, rounded up; 0 without one.

    The residual stream and its norm; what comes in with its gate, before and after the
    convolution, its steps, and what comes out. mamba's graph took 7.54 MiB where this says 8.02,
    qwen35's 38.77 where it says 46.0 (little models, 512 tokens at a time, xllamacpp 11549).
    """
    return (2 * g.embedding_length + RECURRENT_WIDTHS * g.state_width) * (g.state_width > 0)


def nodes(g: Geometry, config: Config) -> int:
    """Return for how many nodes there is room in the graphs of the trunk and of draft heads."""
    return max(NODES_PER_TENSOR * _tensors(g), MIN_NODES) + MIN_NODES * config.mtp


def _tensors(g: Geometry) -> int:
    """Return about how many tensors a model has: of llama 9 for each layer, of Step's 12 and 17."""
    dense = 9 if g.arch == "llama" else 12
    return len(g.layers) * (17 if g.experts else dense) + 4
