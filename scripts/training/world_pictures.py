"""Hands the made-up world's pictures to the vision encoder's stage."""

from __future__ import annotations

from training.stage_vision import Labelled, Pictures
from training.world import painting, seeds
from training.world import pictures as world


def pictures() -> Pictures:
    """Return pictures to train on, and those of the evaluation's seeds, at full difficulty."""
    return Pictures(
        seen=lambda number, difficulty: _labelled(seeds.TRAINING[number], difficulty),
        unseen=lambda number: _labelled(seeds.EVALUATION[number], 1.0),
        classes=len(world.CLASSES),
        colours=len(world.COLOUR_NAMES),
        groups=dict(world.GROUPS),
    )


def _labelled(seed: int, difficulty: float) -> Labelled:
    scene = world.mixed(seed, difficulty)
    cells = painting.label(scene)
    return Labelled(
        painting.paint(scene), cells.centre_class, cells.centre_colour, cells.cover_class
    )
