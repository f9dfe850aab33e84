"""Asks the same with and without the MTP heads: the answers are the same, and how many drafts held.

Nothing in this module needs PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.plan.launch import EngineFiles
from training.engine import HEADS, PROGRAM
from training.world import evaluation

if TYPE_CHECKING:
    from training.examine import Reply
    from training.world.evaluation import Question

_TOLD = re.compile(
    r"draft acceptance = [\d.]+ \( *(\d+) accepted / *(\d+) generated\)"
    r"|acc per pos = \(([\d., ]*)\)"
)
"""What llama.cpp's server logs after each answer (`server_slot::print_timings`)."""


@dataclass(frozen=True)
class Drafts:
    """What became of the heads' guesses.

    `steps`: times that the trunk judged a draft. `accepted`: for each head, in how many of these
    its token was taken. `same` of `asked` answers were those of the trunk alone. `speeds`: tokens
    per second without and with drafts.
    """

    same: int
    asked: int
    steps: float
    accepted: tuple[float, ...]
    speeds: tuple[float, float]

    def __str__(self) -> str:
        """Return lines of a table."""
        lines = [f"{'same answers with drafts':32} {self.same:4} of {self.asked:4}"]
        before = self.steps
        for head, taken in enumerate(self.accepted):
            share = taken / self.steps if self.steps else 0.0
            of_these = taken / before if before else 0.0
            lines.append(
                f"{f'head {head} accepted':32} {share:6.1%} of {self.steps:.0f} drafts, "
                f"{of_these:6.1%} where those before it were"
            )
            before = taken
        without, with_ = self.speeds
        lines.append(
            f"{'tokens/s without and with':32} {without:8.0f} {with_:8.0f}  "
            f"ratio {with_ / without if without else 0.0:.2f}"
        )
        return "\n".join(lines)


def prompts(number: int) -> list[Question]:
    """Return questions of every sort, a quarter each: pictures, calls, zooms, thinking."""
    part = number // 4
    asked: tuple[Iterator[Question], ...] = (
        evaluation.about_pictures(number - 3 * part),
        evaluation.weather(part),
        evaluation.zooms(part),
        evaluation.thinking(part),
    )
    return [question for some in asked for question in some]


async def drafting(
    files: EngineFiles, number: int = 200, program: Sequence[str] = PROGRAM
) -> Drafts:
    """Ask everything twice: of the trunk alone, then with drafts of `HEADS` tokens a step."""
    from training.examine import examined  # noqa: PLC0415 - it knows this module

    asked = prompts(number)
    async with examined(replace(files, mtp=None), program) as examiner:
        alone = [await examiner.ask(question) for question in asked]
    async with examined(files, program, drafts=HEADS) as examiner:
        drafted = [await examiner.ask(question) for question in asked]
        log = examiner.log.read_text("utf-8", "replace")
    same = sum(_said(one) == _said(other) for one, other in zip(alone, drafted, strict=True))
    steps, accepted = read_log(log)
    return Drafts(same, len(asked), steps, accepted, (_speed(alone), _speed(drafted)))


def read_log(log: str) -> tuple[float, tuple[float, ...]]:
    """Add up an engine's log: how often drafts were judged, and how often each head was right."""
    steps, accepted = 0.0, [0.0] * HEADS
    taken = generated = 0
    for found in _TOLD.finditer(log):
        if found[1]:
            taken, generated = int(found[1]), int(found[2])
            continue
        shares = [float(share) for share in str(found[3]).split(",") if share.strip()]
        # It logs shares and not their steps: over all heads they add up to what was taken.
        of_all: float = sum(shares)
        count = taken / of_all if taken and of_all else generated / HEADS
        steps += count
        for head, share in enumerate(shares[:HEADS]):
            accepted[head] += share * count
    return steps, tuple(accepted)


def _said(reply: Reply) -> Reply:
    return replace(reply, timings={})


def _speed(replies: Sequence[Reply]) -> float:
    """Return the tokens per second of some answers, prompts left out."""
    tokens: float = sum(float(reply.timings.get("predicted_n", 0)) for reply in replies)
    seconds: float = sum(float(r.timings.get("predicted_ms", 0)) for r in replies) / 1000
    return tokens / seconds if seconds else 0.0


def beside(weights: Path) -> Path | None:
    """Return the file of heads in a folder of files that ship; None where they are inside."""
    found = sorted(weights.parent.glob("*-mtp-*.gguf"))
    return found[0] if found else None
