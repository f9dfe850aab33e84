"""GGUF metadata of Step's three kinds of file, with the keys of the official ones.

Values that name someone else's paths (the calibration files) are replaced; the chat template is
the test bed's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gguf.constants import GGUFValueType as Kind

if TYPE_CHECKING:
    from runner.testbed.geometry import TextGeometry, VisionGeometry
    from runner.testbed.vocabulary import Vocabulary

TEXT_ARCH = "step35"
VISION_ARCH = "clip"

CLAMPED_LAYERS = 2
"""The last trunk layers clamp their activations: routed experts at 7, the shared one at 16."""


@dataclass(frozen=True)
class MetadataEntry:
    """One key with its value and type; `item` is the type inside an array."""

    key: str
    value: Any
    kind: Kind
    item: Kind | None = None


def text(geometry: TextGeometry, name: str, label: str, *, mtp: bool) -> list[MetadataEntry]:
    """List the architecture keys of a language model; `mtp` counts the MTP layers in."""
    layers = geometry.layers + (geometry.mtp_layers if mtp else 0)
    every = range(layers)
    last = range(geometry.layers - CLAMPED_LAYERS, geometry.layers)
    entries = [
        MetadataEntry("general.type", "model", Kind.STRING),
        MetadataEntry("general.name", name, Kind.STRING),
        MetadataEntry("general.size_label", label, Kind.STRING),
        _u32("block_count", layers),
        _u32("context_length", geometry.context),
        _u32("embedding_length", geometry.hidden),
        _u32("feed_forward_length", geometry.dense_ffn),
        _array("attention.head_count", [geometry.heads(i) for i in every], Kind.INT32),
        _f32("rope.freq_base", 5e6),
        _f32("rope.freq_base_swa", 1e4),
        _u32("expert_gating_func", 2),
        _u32("attention.key_length", geometry.head_dim),
        _u32("attention.value_length", geometry.head_dim),
        _array("attention.head_count_kv", [geometry.kv_heads for _ in every], Kind.INT32),
        _u32("attention.sliding_window", geometry.window),
        _array(
            "attention.sliding_window_pattern", [geometry.is_sliding(i) for i in every], Kind.BOOL
        ),
        _u32("expert_count", geometry.experts),
        _u32("expert_used_count", geometry.experts_used),
        _u32("expert_feed_forward_length", geometry.expert_ffn),
        _u32("expert_shared_feed_forward_length", geometry.shared_ffn),
        _f32("expert_weights_scale", 3.0),
        MetadataEntry(f"{TEXT_ARCH}.expert_weights_norm", value=True, kind=Kind.BOOL),
        _u32("leading_dense_block_count", geometry.dense_layers),
        _u32("moe_every_n_layers", 1),
        _f32("attention.layer_norm_rms_epsilon", 1e-5),
        _array("swiglu_clamp_exp", [7.0 if i in last else 0.0 for i in every], Kind.FLOAT32),
        _array("swiglu_clamp_shexp", [16.0 if i in last else 0.0 for i in every], Kind.FLOAT32),
    ]
    return [*entries, _u32("nextn_predict_layers", geometry.mtp_layers)] if mtp else entries


def tokenizer(words: Vocabulary) -> list[MetadataEntry]:
    """List the tokenizer keys; padding is token 1, the end of sentence, as in the real files."""
    template = Path(__file__).with_name("template.jinja").read_text(encoding="utf-8")
    return [
        MetadataEntry("tokenizer.ggml.model", "gpt2", Kind.STRING),
        MetadataEntry("tokenizer.ggml.pre", "deepseek-v3", Kind.STRING),
        MetadataEntry("tokenizer.ggml.tokens", words.tokens, Kind.ARRAY, Kind.STRING),
        MetadataEntry("tokenizer.ggml.token_type", words.types, Kind.ARRAY, Kind.INT32),
        MetadataEntry("tokenizer.ggml.merges", words.merges, Kind.ARRAY, Kind.STRING),
        MetadataEntry("tokenizer.ggml.bos_token_id", 0, Kind.UINT32),
        MetadataEntry("tokenizer.ggml.eos_token_id", words.id("<|im_end|>"), Kind.UINT32),
        MetadataEntry("tokenizer.ggml.padding_token_id", 1, Kind.UINT32),
        MetadataEntry("tokenizer.ggml.add_bos_token", value=True, kind=Kind.BOOL),
        MetadataEntry("tokenizer.ggml.add_sep_token", value=False, kind=Kind.BOOL),
        MetadataEntry("tokenizer.ggml.add_eos_token", value=False, kind=Kind.BOOL),
        MetadataEntry("tokenizer.chat_template", template, Kind.STRING),
    ]


def quantisation(file_type: int) -> list[MetadataEntry]:
    """List the keys that say how the tensors were quantised."""
    return [
        MetadataEntry("general.quantization_version", 2, Kind.UINT32),
        MetadataEntry("general.file_type", file_type, Kind.UINT32),
    ]


def vision(geometry: VisionGeometry, name: str, label: str, file_type: int) -> list[MetadataEntry]:
    """List the keys of a projector file: CLIP's pixel statistics, longest edge 3024 pixels."""
    return [
        MetadataEntry("general.type", "mmproj", Kind.STRING),
        MetadataEntry("general.name", name, Kind.STRING),
        MetadataEntry("general.size_label", label, Kind.STRING),
        MetadataEntry("general.file_type", file_type, Kind.UINT32),
        MetadataEntry("clip.has_vision_encoder", value=True, kind=Kind.BOOL),
        _vision("projection_dim", geometry.text_hidden),
        _vision("image_size", geometry.image),
        _vision("patch_size", geometry.patch),
        _vision("embedding_length", geometry.width),
        _vision("feed_forward_length", geometry.ffn),
        _vision("block_count", geometry.layers),
        _vision("attention.head_count", geometry.heads),
        _pixels("image_mean", [0.48145466, 0.4578275, 0.40821073]),
        _pixels("image_std", [0.26862954, 0.26130258, 0.27577711]),
        MetadataEntry("clip.projector_type", "step3vl", Kind.STRING),
        MetadataEntry("clip.vision.attention.layer_norm_epsilon", 1e-5, Kind.FLOAT32),
        _vision("projector.scale_factor", 4),
        _vision("preproc_image_size", 3024),
        MetadataEntry("general.quantization_version", 2, Kind.UINT32),
    ]


def _u32(key: str, value: int) -> MetadataEntry:
    return MetadataEntry(f"{TEXT_ARCH}.{key}", value, Kind.UINT32)


def _f32(key: str, value: float) -> MetadataEntry:
    return MetadataEntry(f"{TEXT_ARCH}.{key}", value, Kind.FLOAT32)


def _array(key: str, values: list[Any], item: Kind) -> MetadataEntry:
    return MetadataEntry(f"{TEXT_ARCH}.{key}", values, Kind.ARRAY, item)


def _vision(key: str, value: int) -> MetadataEntry:
    return MetadataEntry(f"clip.vision.{key}", value, Kind.UINT32)


def _pixels(key: str, values: list[float]) -> MetadataEntry:
    return MetadataEntry(f"clip.vision.{key}", values, Kind.ARRAY, Kind.FLOAT32)
