"""A stage of training: a loop by the clock that can be stopped at any time and resumed.

The schedule counts the seconds that this process computes, over all runs together, so that a busy
machine trains later and not less. What a step draws depends on the seed and its number alone. A run
from the same seed is therefore the same within noise, not bit by bit: a faster machine takes more
steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

SAVE_S = 30.0


@dataclass(frozen=True)
class Moment:
    """How far a stage is: steps taken, seconds trained and seconds planned, in all runs."""

    step: int
    seconds: float
    planned: float

    @property
    def share(self) -> float:
        """Return the share of the plan that is over, 0 to 1."""
        return min(self.seconds / self.planned, 1.0)


class Stage(Protocol):
    """What is trained. Its state is made of tensors, plain numbers, lists and dictionaries."""

    name: str

    def step(self, moment: Moment) -> float:
        """Train on one batch and return its loss."""

    def scores(self) -> dict[str, float]:
        """Measure on what was never trained on, each 0 to 1."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state."""

    def export(self, folder: Path) -> None:
        """Write what later stages and the engine read."""


@dataclass(frozen=True)
class Budget:
    """Seconds: planned in all, for this run at most, and between two measurements."""

    planned: float
    run: float
    score_every: float = 600.0


def run(
    stage: Stage, folder: Path, budget: Budget, clock: Callable[[], float] = time.process_time
) -> Moment:
    """Train until the plan or this run's time is over; return how far it is.

    Saves to `folder` every 30 s and at the end, also after a Ctrl-C. Scores are appended to
    NAME.jsonl there, a line each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    moment, scored = _resume(stage, folder, budget.planned)
    before, began = moment.seconds, clock()
    saved = began
    try:
        while moment.share < 1 and moment.seconds - before < budget.run:
            loss = stage.step(moment)
            seconds = before + clock() - began
            moment = replace(moment, step=moment.step + 1, seconds=seconds)
            if clock() - saved > SAVE_S:
                _save(stage, folder, moment, scored)
                saved = clock()
            if moment.seconds - scored > budget.score_every:
                scored = moment.seconds
                _score(stage, folder, moment, loss)
                began += clock() - (began + seconds - before)  # measuring is no training
    finally:
        _save(stage, folder, moment, scored)
    if moment.step:
        _score(stage, folder, moment, None)
    return moment


def checkpoint(stage: Stage, folder: Path) -> Path:
    """Name the file that a stage resumes from."""
    return folder / f"{stage.name}.pt"


def _resume(stage: Stage, folder: Path, planned: float) -> tuple[Moment, float]:
    path = checkpoint(stage, folder)
    if not path.exists():
        return Moment(0, 0.0, planned), 0.0
    known = torch.load(path, weights_only=True)
    stage.restore(known["stage"])
    return Moment(known["step"], known["seconds"], planned), known["scored"]


def _save(stage: Stage, folder: Path, moment: Moment, scored: float) -> None:
    state = {"stage": stage.state(), "step": moment.step, "seconds": moment.seconds}
    draft = folder / f".{stage.name}.pt"
    torch.save(state | {"scored": scored}, draft)
    draft.replace(checkpoint(stage, folder))


def _score(stage: Stage, folder: Path, moment: Moment, loss: float | None) -> None:
    stage.export(folder)
    line = json.dumps(asdict(moment) | {"loss": loss} | stage.scores())
    with (folder / f"{stage.name}.jsonl").open("a", encoding="utf-8") as log:
        log.write(line + "\n")
    print(line, flush=True)
