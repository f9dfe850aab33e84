"""Compares the PyTorch graph with the embedded engine: the greatest difference of a logit.

Both compute with the weights as the file stores them. The engine rounds activations to F16 where
PyTorch does not, and keeps keys and values in F16: differences of a few thousandths remain.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from PIL import Image
from torch import Tensor

from runner.testbed.language import tiny_vocabulary
from runner.testbed.vocabulary import Vocabulary
from training import engine, export, vision
from training.initial import stirred
from training.model import PICTURE, LanguageModel, Rows, shifted
from training.shape import Shape

PREDICTED = 16
"""Tokens that the engine writes after each prompt: as many positions are compared."""

LENGTHS = {"short": 12, "900 tokens": 900, "1,500 tokens": 1500}
"""Beyond the sliding window of 512, and beyond a micro-batch of the same size."""


@dataclass(frozen=True)
class Model:
    """Both files of a model on this disk, and what they hold."""

    shape: Shape
    words: Vocabulary
    weights: Path
    projector: Path

    def language(self) -> LanguageModel:
        """Read the language model as the file has it."""
        return LanguageModel(self.shape.text, export.read(self.weights))

    def encode(self, patches: Tensor, columns: int) -> Tensor:
        """Encode one picture's patches [p, 588] as tokens [p / 16, h]."""
        weights = export.read(self.projector)
        return vision.encode(self.shape.vision, weights, patches[None], columns)[0]


@dataclass
class Differences:
    """The greatest difference of a log-probability by case; and of shares of drafted tokens.

    `flips`: drafted tokens that differ, of `drafted`.
    """

    logits: dict[str, float] = field(default_factory=dict)
    drafted: int = 0
    flips: int = 0
    draft_share: float = 0.0


def random_model(folder: Path, shape: Shape, quant: export.Quant = "F16", seed: int = 17) -> Model:
    """Write files of random weights in which every tensor matters, with the test bed's words."""
    words = tiny_vocabulary()
    shape = shape.with_vocabulary(len(words.tokens))
    model = Model(shape, words, folder / f"random-{quant}.gguf", folder / f"mmproj-{quant}.gguf")
    language = stirred(shape.language_table(), seed)
    export.write_language(model.weights, shape, language, words, quant)
    export.write_vision(model.projector, shape, stirred(shape.vision_table(), seed), quant)
    return model


@torch.no_grad()
async def differences(model: Model, *, seed: int = 17) -> Differences:
    """Compare text of each length, pictures with and without crops, and drafts."""
    torch.set_num_threads(1)
    found, random = Differences(), np.random.default_rng(seed)
    language, vocabulary = model.language(), model.shape.text.vocabulary
    async with engine.running(model.weights, model.projector) as running:
        for name, length in LENGTHS.items():
            prompt = _prompt(random, length, vocabulary)
            told = await running.resume(prompt, PREDICTED, vocabulary)
            found.logits[name] = difference(language, prompt, None, told)
        for name, side in (("picture", 728), ("picture with crops", 2 * vision.CROP)):
            pixels = noise(random, side)
            before, after = "A small ", " picture."
            told = await running.resume_picture(before, png(pixels), after, PREDICTED, vocabulary)
            first, last = await running.tokenize(before), await running.tokenize(after)
            tokens, seen = lay_out(model, pixels)
            prompt = [0, *first, *tokens, *last]
            found.logits[name] = difference(language, prompt, seen, told)
    await _compare_drafts(model, language, _prompt(random, 600, vocabulary), found)
    return found


def difference(
    language: LanguageModel, prompt: Sequence[int], seen: Tensor | None, told: engine.Continued
) -> float:
    """Return the greatest difference of a log-probability at the places that were continued.

    `seen`: embeddings of the picture [count of `PICTURE` in the prompt, h].
    """
    rows = _rows(language, [*prompt, *told.tokens[:-1]], seen)
    states = language.states(language.embed(rows), language.read(rows))
    own = language.logits(states[0, len(prompt) - 1 :]).log_softmax(-1)
    return float(np.abs(own.double().numpy() - told.log_probabilities).max())


def lay_out(model: Model, pixels: npt.NDArray[np.uint8]) -> tuple[list[int], Tensor]:
    """Return the tokens of a square picture, and its embeddings in their order.

    728 pixels a side: only the overview. A multiple of 504: crops row by row first, then the
    overview, shrunk. Other sizes are not handled: cutting them takes the engine's own resizing.
    """
    names = ("<im_start>", "<im_end>", "<patch_start>", "<patch_end>", "<patch_newline>")
    start, end, crop_start, crop_end, newline = (model.words.id(name) for name in names)
    picture, patch, side = torch.from_numpy(pixels), model.shape.vision.patch, pixels.shape[0]
    tokens, parts = [], []
    if side > model.shape.vision.image:
        for top in range(0, side, vision.CROP):
            tokens += [newline] if top else []
            for left in range(0, side, vision.CROP):
                crop = picture[top : top + vision.CROP, left : left + vision.CROP]
                part = model.encode(vision.cut(crop[None], patch)[0], vision.CROP // patch)
                tokens += [crop_start, *([PICTURE] * len(part)), crop_end]
                parts.append(part)
    size = model.shape.vision.image
    whole = F.interpolate(picture.float().movedim(2, 0)[None], (size, size), mode="bilinear")
    cut = vision.cut(whole.movedim(1, 3), patch)[0]
    parts.append(model.encode(cut, size // patch))
    return [*tokens, start, *([PICTURE] * len(parts[-1])), end], torch.cat(parts)


def draft(
    language: LanguageModel, tokens: Sequence[int], states: Tensor, count: int
) -> list[engine.Candidate]:
    """Draft up to `count` tokens as the engine does: the heads in turn, each greedily.

    `states` [n - 1, h]: the trunk's for all n tokens but the last, which it has not seen yet. Each
    head sees the trunk's states before all of these, then those of the heads before it.
    """
    drafted: list[engine.Candidate] = []
    before = F.pad(states, (0, 0, 1, 0))[None]
    for head in range(count):
        rows = _rows(language, [*tokens, *(one.token for one in drafted)], None)
        out = language.head_states(head, language.embed(rows), before, language.read(rows))
        likely = language.head_logits(head, out[0, -1]).topk(10)
        share = float(likely.values.softmax(-1)[0])
        drafted.append(engine.Candidate(int(likely.indices[0]), share))
        before = torch.cat((before, out[:, -1:]), 1)
    return drafted


async def _compare_drafts(
    model: Model, language: LanguageModel, prompt: list[int], found: Differences
) -> None:
    async with engine.running(model.weights, drafts=engine.HEADS) as running:
        told = await running.resume(prompt, PREDICTED, model.shape.text.vocabulary)
        theirs = running.drafted()
    whole = [*prompt, *told.tokens]
    rows = _rows(language, whole, None)
    states = language.states(language.embed(rows), language.read(rows))[0]
    place = len(prompt)  # of the newest token, which the heads draft from
    while theirs and place < len(whole):
        own = draft(language, whole[: place + 1], states[:place], engine.HEADS)
        for mine, other in zip(own, theirs, strict=False):
            found.drafted += 1
            found.flips += mine.token != other.token
            if mine.token == other.token:
                found.draft_share = max(found.draft_share, abs(mine.share - other.share))
        theirs = theirs[engine.HEADS :]
        kept = 0
        while kept < len(own) and whole[place + 1 :][kept : kept + 1] == [own[kept].token]:
            kept += 1
        place += kept + 1


def _rows(language: LanguageModel, tokens: Sequence[int], seen: Tensor | None) -> Rows:
    ids = torch.tensor([tokens])
    if seen is None:
        return Rows.single(ids)
    pictures = torch.zeros(1, len(tokens), language.geometry.hidden)
    pictures[ids == PICTURE] = seen
    return Rows.single(ids, pictures)


def _prompt(random: np.random.Generator, length: int, vocabulary: int) -> list[int]:
    """Draw a prompt of ordinary tokens: three specials come first, fourteen markers last."""
    return [0, *random.integers(3, vocabulary - 14, length - 1).tolist()]


def noise(random: np.random.Generator, side: int) -> npt.NDArray[np.uint8]:
    """Draw a picture of coloured blocks and noise, [side, side, 3]."""
    blocks = random.integers(0, 256, (side // 28, side // 28, 3))
    coarse = blocks.repeat(28, 0).repeat(28, 1)
    fine = random.integers(-40, 41, (side, side, 3))
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
