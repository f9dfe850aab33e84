"""Compares the PyTorch graph with an engine on trained weights, at what the world really asks.

A router that is near a tie may take another expert in the engine, which rounds differently; from
there on the two compute something else. So the bound holds up to the first such place, and the
share of these places is a figure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runner.testbed.vocabulary import BEGIN
from training import engine
from training.compare import NEAR_TIE, PREDICTED, Difference, Model, difference, lay_out
from training.model import LanguageModel
from training.shape import TRAINED
from training.world import evaluation, painting, template, text, tokenizer
from training.world.evaluation import Question

TEXT, PICTURE = 0.02, 0.05
"""How far log-probabilities may be apart where every expert is the same: issue 17's bounds."""


@dataclass(frozen=True)
class Compared:
    """Differences at the places that an engine wrote, question by question, text and pictures.

    Until the first flip: a place beyond the bound where a router was near a tie. What comes after
    it in the same answer is left out.
    """

    name: str
    bound: float
    found: tuple[Difference, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        apart, flips, places, clear = [], 0, 0, []
        for one in self.found:
            beyond = one.apart > self.bound
            flipped = np.flatnonzero(beyond & ~one.clear)
            end = int(flipped[0]) if len(flipped) else len(one.apart)
            flips += bool(len(flipped))
            places += end + bool(len(flipped))
            apart += one.apart[:end].tolist()
            clear += one.clear[:end].tolist()
        known = np.array(apart)
        return (
            f"{self.name:10} greatest {known.max(initial=0.0):.4f}, median {np.median(known):.4f}, "
            f"{int((known <= self.bound).sum())} of {len(known)} places within {self.bound} up to "
            f"the first flip; {flips} flips in {places} places ({flips / places:.1%}); "
            f"{len(clear) - sum(clear)} others were near a tie ({NEAR_TIE})"
        )


async def compared(weights: Path, projector: Path, number: int = 20) -> list[Compared]:
    """Compare `number` questions on text and as many on pictures, `PREDICTED` places each."""
    words = tokenizer.stored()
    shape = TRAINED.with_vocabulary(len(words.tokens))
    model = Model(shape, words, weights, projector)
    language, pieces = model.language(), tokenizer.Tokenizer(words)
    torch.set_num_threads(1)
    on_text = []
    asked = [one for one in evaluation.thinking(4 * number) if not one.exchange.pictures]
    async with engine.running(weights, words, projector) as running:
        for question in asked[:number]:
            before, after = _around(question)
            prompt = [words.id(BEGIN), *pieces.encode(before + after)]
            told = await running.resume(prompt, PREDICTED)
            on_text.append(difference(language, prompt, None, told))
        on_pictures = [
            await _on_picture(model, language, question, pieces, running)
            for question in evaluation.about_pictures(number)
            if len(question.exchange.pictures) == 1
        ]
    return [
        Compared("text", TEXT, tuple(on_text)),
        Compared("pictures", PICTURE, tuple(on_pictures)),
    ]


async def _on_picture(
    model: Model,
    language: LanguageModel,
    question: Question,
    pieces: tokenizer.Tokenizer,
    running: engine.Engine,
) -> Difference:
    (scene,) = question.exchange.pictures
    before, after = _around(question)
    told = await running.resume_picture(before, painting.png(scene), after, PREDICTED)
    tokens, seen = _seen(model, scene)
    first = [model.words.id(BEGIN), *pieces.encode(before)]
    return difference(language, [*first, *tokens, *pieces.encode(after)], seen, told)


def _seen(model: Model, scene: object) -> tuple[Sequence[int], Tensor]:
    with torch.no_grad():
        return lay_out(model, painting.paint(scene))  # type: ignore[arg-type]


def _around(question: Question) -> tuple[str, str]:
    """Return what stands before the picture, if there is one, and what after it."""
    said = text.plain(question.exchange.question)
    before = template.begin(question.effort, question.tools) + template.user()
    return before, f"{said}<|im_end|>\n{template.OPEN}"
