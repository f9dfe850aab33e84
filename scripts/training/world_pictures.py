"""Hands the made-up world's pictures to the vision encoder's stage."""

from __future__ import annotations

from training.stage_vision import Labelled, Pictures
from training.world import painting, seeds
from training.world import pictures as world

KINDS = (
    "shapes",
    "number",
    "shapes",
    "word",
    "shapes",
    "number",
    "one",
    "number",
    "shapes",
    "small",
)
"""What pictures show, in turn. Numbers are the hardest to learn."""


def pictures() -> Pictures:
    """Return pictures to train on, and those of the evaluation's seeds, at full difficulty."""
    classes, colours = world.CLASSES, world.COLOUR_NAMES
    kinds = {"shape": world.SHAPES, "digit": world.DIGITS, "letter": world.LETTERS}
    return Pictures(
        seen=lambda number, difficulty: _labelled(seeds.TRAINING[number], number, difficulty),
        unseen=lambda number: _labelled(seeds.EVALUATION[number], number, 1.0),
        classes=len(classes),
        colours=len(colours),
        groups={name: [classes.index(kind) for kind in group] for name, group in kinds.items()},
    )


def _labelled(seed: int, number: int, difficulty: float) -> Labelled:
    scene = world.scene(seed, KINDS[number % len(KINDS)], difficulty)
    cells = painting.label(scene)
    return Labelled(
        painting.paint(scene), cells.centre_class, cells.centre_colour, cells.cover_class
    )
