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
from training.model import PICTURE, LanguageModel, Rows
from training.shape import Shape

PREDICTED = 16
"""Tokens that the engine writes after each prompt: as many positions are compared."""

LENGTHS = {"short": 12, "900 tokens": 900, "1,500 tokens": 1500}
"""Beyond the sliding window of 512, and beyond a micro-batch of the same size."""


NEAR_TIE = 0.004
"""Scores of experts, 0 to 1, this near each other may be ordered either way.

Measured with F16 files: of 480 places 6 took another expert, and their margins were below 0.0017.
"""


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
        encoder = vision.VisionEncoder(self.shape.vision, export.read(self.projector))
        return encoder.encode(patches[None], columns)[0]


@dataclass(frozen=True)
class Difference:
    """How far log-probabilities are apart at each place, greatest of the vocabulary [m].

    `margins` [m]: by how much a router chose its last expert over the next, least of all layers.
    Rounding decides where this is near 0, and the two may then take different experts.
    """

    apart: npt.NDArray[np.float64]
    margins: npt.NDArray[np.float64]

    @property
    def clear(self) -> npt.NDArray[np.bool_]:
        """Tell at which places no router was near a tie, [m]."""
        return self.margins >= NEAR_TIE

    @property
    def greatest(self) -> float:
        """Return the greatest difference where no router was near a tie."""
        return float(self.apart[self.clear].max(initial=0.0))

    def __str__(self) -> str:
        """Say it in one line."""
        near = len(self.apart) - int(self.clear.sum())
        return (
            f"greatest {self.greatest:.4f}, median {np.median(self.apart):.4f}, "
            f"{near} of {len(self.apart)} near a tie (greatest there "
            f"{self.apart[~self.clear].max(initial=0.0):.4f})"
        )


@dataclass
class Differences:
    """What was compared: log-probabilities by case, and drafts.

    `flips`: drafted tokens that differ, of `drafted`; `draft_share`: the greatest difference of a
    drafted token's share.
    """

    cases: dict[str, Difference] = field(default_factory=dict)
    drafted: int = 0
    flips: int = 0
    draft_share: float = 0.0

    def __str__(self) -> str:
        """Say it in a line a case."""
        drafts = f"{self.flips} of {self.drafted} differ, shares by {self.draft_share:.4f}"
        return "\n".join(
            f"{name}: {case}" for name, case in (*self.cases.items(), ("drafts", drafts))
        )


def random_model(folder: Path, shape: Shape, quant: export.Quant = "F16", seed: int = 17) -> Model:
    """Write files of random weights in which every tensor matters, with the test bed's words."""
    words = tiny_vocabulary()
    shape = shape.with_vocabulary(len(words.tokens))
    model = Model(shape, words, folder / f"random-{quant}.gguf", folder / f"mmproj-{quant}.gguf")
    language = stirred(shape.language_table(), seed)
    export.write_language(model.weights, shape, language, words, quant)
    export.write_vision(model.projector, shape, stirred(shape.vision_table(), seed), quant)
    return model


async def differences(model: Model, *, seed: int = 17) -> Differences:
    """Compare text of each length, pictures with and without crops, and drafts."""
    torch.set_num_threads(1)
    found, random = Differences(), np.random.default_rng(seed)
    language, vocabulary = model.language(), model.shape.text.vocabulary
    async with engine.running(model.weights, model.words, model.projector) as running:
        for name, length in LENGTHS.items():
            prompt = _prompt(random, length, vocabulary)
            told = await running.resume(prompt, PREDICTED)
            found.cases[name] = difference(language, prompt, None, told)
        for name, side in (("picture", 728), ("picture with crops", 2 * vision.CROP)):
            pixels = noise(random, side)
            before, after = "A small ", " picture."
            told = await running.resume_picture(before, png(pixels), after, PREDICTED)
            first, last = await running.tokenize(before), await running.tokenize(after)
            tokens, seen = lay_out(model, pixels)
            prompt = [0, *first, *tokens, *last]
            found.cases[name] = difference(language, prompt, seen, told)
    await _compare_drafts(model, language, _prompt(random, 600, vocabulary), found)
    return found


def difference(
    language: LanguageModel, prompt: Sequence[int], seen: Tensor | None, told: engine.Continued
) -> Difference:
    """Compare at the places where the engine continued a prompt.

    `seen`: embeddings of the picture [count of `PICTURE` in the prompt, h].
    """
    rows = _rows(language, [*prompt, *told.tokens[:-1]], seen)
    first, used, margins = len(prompt) - 1, language.geometry.experts_used, []

    def watch(_layer: int, by: Tensor, _shares: Tensor) -> None:
        best = by[0, first:].topk(used + 1, -1).values
        margins.append(best[:, -2] - best[:, -1])

    states = language.states(language.embed(rows), language.read(rows), watch)
    own = language.logits(states[0, first:]).log_softmax(-1).double().numpy()
    apart = np.abs(own - told.log_probabilities).max(1)
    return Difference(apart, torch.stack(margins).amin(0).double().numpy())


def lay_out(model: Model, pixels: npt.NDArray[np.uint8]) -> tuple[list[int], Tensor]:
    """Return the tokens of a square picture, and its embeddings in their order.

    728 pixels a side: only the overview. A multiple of 504: crops row by row first, then the
    overview, shrunk. Other sizes are not handled: cutting them takes the engine's own resizing.
    """
    names = ("<im_start>", "<im_end>", "<patch_start>", "<patch_end>", "<patch_newline>")
    start, end, crop_start, crop_end, newline = (model.words.id(name) for name in names)
    picture, patch, side = (
        torch.from_numpy(pixels.copy()),
        model.shape.vision.patch,
        pixels.shape[0],
    )
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
    async with engine.running(model.weights, model.words, drafts=engine.HEADS) as running:
        told = await running.resume(prompt, PREDICTED)
        theirs = running.drafted()
    whole = [*prompt, *told.tokens]
    rows = _rows(language, whole, None)
    states = language.states(language.embed(rows), language.read(rows))[0]
    place = len(prompt)  # of the newest token, which the heads draft from
    for other in theirs:
        own = draft(language, whole[: place + 1], states[:place], len(other))
        _count(found, own, other)
        place += 1
        for candidate in other:
            if whole[place : place + 1] != [candidate.token]:
                break
            place += 1


def _count(
    found: Differences, own: Sequence[engine.Candidate], theirs: Sequence[engine.Candidate]
) -> None:
    """Count a round of drafts up to the first that differs: those after it rest on another."""
    for mine, other in zip(own, theirs, strict=True):
        found.drafted += 1
        if mine.token != other.token:
            found.flips += 1
            return
        found.draft_share = max(found.draft_share, abs(mine.share - other.share))


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
    pixels: npt.NDArray[np.uint8] = np.clip(coarse + fine, 0, 255).astype(np.uint8)
    return pixels


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
