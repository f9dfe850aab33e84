"""The rungs of the ladder as a gateway serves them: one way to run its model on each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.gateway.engine.keeper import Engine
from runner.gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class ServedRung:
    """One way to serve a model.

    `make` makes its engine. `gives_up`: what it gives up beside the rungs above it, in words, empty
    for the first. `held_bytes`: what its engine takes of the memory that other programs share, by
    the ledger.
    """

    settings: Settings
    make: Callable[[], Engine]
    gives_up: str = ""
    held_bytes: int = 0


Rungs = Callable[[], Sequence[ServedRung]]
"""Returns all rungs, the first one as planned. Takes a moment: call it in a thread."""
