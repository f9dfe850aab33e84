"""Whether a projector belongs to a model: by the width of what it puts out.

The tensors decide, as in the engine; the key `clip.vision.projection_dim` is 0 or something else's
width (CLIP's own, in LLaVA's files) in those of several converters.
"""

from dataclasses import dataclass

from runner.gguf.architectures import table
from runner.gguf.parse import Header

WIDTH_KEY = "clip.vision.projection_dim"
_KIND_KEYS = ("clip.vision.projector_type", "clip.projector_type")
_OLD_KINDS = {"clip.has_minicpmv_projector": "resampler", "clip.has_llava_projector": "mlp"}
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Width:
    """The width of a projector's output; `by_tensors`: not by a key alone."""

    elements: int
    by_tensors: bool


def width(header: Header) -> Width | None:
    """Return a projector's width; None where neither its tensors nor its keys tell."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    for name, dimension in table().projector.get(_kind(header), ()):
        shape = shapes.get(name, ())
        if dimension < len(shape):
            return Width(shape[dimension], by_tensors=True)
    key = header.metadata.get(WIDTH_KEY)
    return Width(key, by_tensors=False) if type(key) is int and 0 < key <= _MOST else None


def sees(header: Header) -> bool:
    """Whether a projector is for images: not one that says it is for audio alone."""
    keys = header.metadata
    return bool(keys.get("clip.has_vision_encoder") or not keys.get("clip.has_audio_encoder"))


def fits(header: Header, model_width: int) -> bool:
    """Whether a projector may give images to a model of that width.

    Not where it is for audio alone, nor where its width is seen to differ.
    """
    found = width(header)
    return sees(header) and (found is None or found.elements == model_width)


def is_verified(header: Header) -> bool:
    """Whether the width was seen at all."""
    return width(header) is not None


def _kind(header: Header) -> str:
    for key in _KIND_KEYS:
        kind = header.metadata.get(key)
        if isinstance(kind, str) and kind:
            return kind
    for key, kind in _OLD_KINDS.items():
        if header.metadata.get(key) is True:
            return kind
    return ""
