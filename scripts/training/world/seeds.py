"""Random numbers by name: the same name gives the same numbers, on every machine.

Training and evaluation draw from ranges of seeds that cannot meet.
"""

from __future__ import annotations

import random

TRAINING = range(1_000_000_000)
EVALUATION = range(1_000_000_000, 2_000_000_000)


def generator(*name: object) -> random.Random:
    """Make the generator of a name, such as ``("scene", "shapes", 17)``.

    Python hashes a text seed with SHA-512, so that neighbouring names have nothing in common.
    """
    return random.Random("/".join(map(str, name)))  # noqa: S311 - pictures, not secrets


def is_held_out(seed: int) -> bool:
    """Tell whether a seed is one of the evaluation's; refuse a seed of neither range."""
    if seed in EVALUATION:
        return True
    if seed in TRAINING:
        return False
    raise ValueError(f"{seed} is a seed of neither range")
