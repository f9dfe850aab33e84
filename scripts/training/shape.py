"""The sizes of the models that are trained, as the test bed's geometries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from runner.testbed.geometry import Table, TextGeometry, VisionGeometry


@dataclass(frozen=True)
class Shape:
    """A language model with its MTP heads inside, and the vision encoder that feeds it.

    Q8_0 stores 32 values a block: every matrix of the language model has rows of a multiple of it.
    """

    text: TextGeometry
    vision: VisionGeometry

    def __post_init__(self) -> None:
        """Refuse what the graph or the file format cannot hold."""
        text, vision = self.text, self.vision
        rows = (text.hidden, text.dense_ffn, text.expert_ffn, text.shared_ffn, text.head_dim)
        if any(row % 32 for row in (*rows, vision.width, vision.ffn)):
            raise ValueError("Q8_0 needs rows of a multiple of 32 values")
        if vision.text_hidden != text.hidden:
            raise ValueError("the vision encoder must end in the language model's width")
        if vision.width // vision.heads % 4:
            raise ValueError("a head of the vision encoder is two halves of rotated pairs")

    def with_vocabulary(self, tokens: int) -> Shape:
        """Return the same for another number of tokens."""
        return replace(self, text=replace(self.text, vocabulary=tokens))

    def language_table(self) -> Table:
        """List the tensors of the main file, MTP heads inside."""
        return self.text.trunk() | self.text.heads_inside()

    def vision_table(self) -> Table:
        """List the tensors of the projector file."""
        return self.vision.rows()

    @property
    def parameters(self) -> int:
        """Count the numbers in both files."""
        tables = (self.language_table(), self.vision_table())
        return sum(prod(shape) for table in tables for shape in table.values())


def _shape(text: TextGeometry, width: int, layers: int) -> Shape:
    # Heads of 32 and a feed-forward of three times the width, as measured.
    vision = VisionGeometry(
        width=width, ffn=3 * width, heads=width // 32, layers=layers, text_hidden=text.hidden
    )
    return Shape(text, vision)


TRAINED = _shape(
    TextGeometry(
        hidden=160,
        dense_ffn=320,
        expert_ffn=64,
        shared_ffn=64,
        experts=16,
        experts_used=4,
        head_dim=32,
        kv_heads=2,
        full_heads=4,
        sliding_heads=6,
        vocabulary=896,
        layers=6,
        dense_layers=1,
        mtp_layers=3,
        window=512,
        context=262_144,
    ),
    width=96,
    layers=3,
)
"""What is trained: 6.3 M parameters; F16 and Q8_0 with one projector take 18 MB together.

Issue 17 allows 20 MB, which is why the width is 160 instead of the 192 first thought of.
"""

SMALL = _shape(
    TextGeometry(
        hidden=128,
        dense_ffn=384,
        expert_ffn=64,
        shared_ffn=64,
        experts=8,
        experts_used=2,
        head_dim=32,
        kv_heads=2,
        full_heads=4,
        sliding_heads=6,
        vocabulary=608,
        layers=5,
        dense_layers=1,
        mtp_layers=3,
        window=512,
        context=262_144,
    ),
    width=64,
    layers=2,
)
"""The sizes of the first trial, which learned in 32 minutes of one core; tests use it."""
