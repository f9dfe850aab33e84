"""Stages of training: they learn, and a run that was stopped resumes as if it had not been."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200), pytest.mark.usefixtures("pytorch")]

COLOURS = ((220, 40, 40), (40, 160, 60), (40, 90, 220))


def squares(number: int, _difficulty: float = 1.0) -> Any:
    """Paint three squares, each in a cell of its own; their class is their colour."""
    from training.stage_vision import Labelled

    dice = np.random.default_rng(number)
    pixels = np.full((728, 728, 3), 240, np.uint8)
    labels = np.zeros((13, 13), np.uint8)
    for place in dice.choice(169, 3, replace=False):
        row, column = divmod(int(place), 13)
        kind = int(dice.integers(len(COLOURS)))
        labels[row, column] = kind + 1
        pixels[row * 56 + 4 : row * 56 + 52, column * 56 + 4 : column * 56 + 52] = COLOURS[kind]
    return Labelled(pixels, labels, labels, labels)


def stage(**settings: Any) -> Any:
    from training import shape, stage_vision

    pictures = stage_vision.Pictures(
        squares, lambda number: squares(10**6 + number), 4, 4, {"square": range(1, 4)}
    )
    wanted = stage_vision.Settings(**{"batch": 2, "unseen": 4, **settings})
    return stage_vision.VisionStage(shape.SMALL, pictures, 7, wanted)


class Ticking:
    """A clock by which every step takes a second, and nothing else any time."""

    def __init__(self, trained: Any) -> None:
        self.now = 0.0
        self.losses: list[float] = []
        self._step = trained.step
        trained.step = self.step

    def step(self, moment: Any) -> float:
        self.now += 1
        self.losses.append(self._step(moment))
        return self.losses[-1]

    def __call__(self) -> float:
        return self.now


def run(folder: Path, steps: int, of: int, **settings: Any) -> tuple[Any, list[float]]:
    from training import loop

    trained = stage(**settings)
    clock = Ticking(trained)
    moment = loop.run(trained, folder, loop.Budget(of, steps), clock)
    assert moment.planned == of
    return trained, clock.losses


def test_a_stopped_run_resumes_as_if_it_had_not_been(tmp_path: Path) -> None:
    import torch

    # From blind to few keys to all of them: 1, 2 and 1 of four steps.
    shares = {"blind": 0.25, "whole": 0.75}
    whole, losses = run(tmp_path / "whole", 4, 4, **shares)
    _, first = run(tmp_path / "parts", 2, 4, **shares)
    parts, last = run(tmp_path / "parts", 4, 4, **shares)
    assert first + last == losses
    one, other = whole.state()["encoder"], parts.state()["encoder"]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len((tmp_path / "parts" / "vision.jsonl").read_text().splitlines()) == 2
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {
        "vision.pt",
        "vision.jsonl",
        "mmproj-tiny-step.gguf",
    }


def test_another_seed_does_not_resume(tmp_path: Path) -> None:
    from training import loop, shape, stage_vision

    trained, _ = run(tmp_path, 1, 9)
    other = stage_vision.VisionStage(shape.SMALL, trained._pictures, 8, trained._settings)
    with pytest.raises(ValueError, match="began from seed 7, not 8"):
        loop.run(other, tmp_path, loop.Budget(9, 1))


def test_what_is_exported_is_what_was_scored(tmp_path: Path) -> None:
    """Until attention is on, the file must not have any."""
    import torch

    from training import export, shape
    from training.vision import VisionEncoder, cut

    trained, _ = run(tmp_path, 2, 100)
    held = export.read(tmp_path / "mmproj-tiny-step.gguf")
    assert not held["v.blk.0.ls1.weight"].any()
    one = squares(5)
    encoder = VisionEncoder(shape.SMALL.vision, held)
    with torch.no_grad():
        own = trained._tokens([one], torch.arange(0))
        read = encoder.encode(cut(torch.from_numpy(one.pixels[None]), 14), 52)
    assert torch.allclose(own, read, atol=0.02)


def test_it_learns_colours_within_seconds(tmp_path: Path) -> None:
    trained, losses = run(tmp_path, 60, 60, blind=1.0, batch=4, unseen=16)
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    assert trained.scores()["colour"] > 0.9


def test_leaves_are_put_together_again() -> None:
    import torch

    from training import initial, shape
    from training.optimise import Trainable

    for table in (shape.SMALL.language_table(), shape.SMALL.vision_table()):
        weights = initial.stirred(table, 2)
        trainable = Trainable.of(weights, frozen=("output.weight",))
        whole = trainable.weights()
        assert list(whole) == list(weights)
        assert all(torch.equal(whole[name], weights[name]) for name in weights)
        assert all(leaf.ndim <= 2 for leaf in trainable.leaves.values())
        fixed = {name for name, values in whole.items() if not values.requires_grad}
        assert all(n.endswith(("freqs.weight", "probs_b.bias", "output.weight")) for n in fixed)


def repeated(number: int, _share: float = 1.0) -> list[Any]:
    """Write rows of which each branch repeats the four tokens that all of them share."""
    from training.stage_language import Example

    dice = np.random.default_rng(number)
    rows = []
    for length in (6, 5):
        shared = dice.integers(3, 40, 4)
        tokens = np.concatenate((shared, *[[2, *shared]] * length))
        branches = np.repeat(np.arange(length + 1), [4, *[5] * length])
        positions = np.concatenate((np.arange(4), *[np.arange(4, 9)] * length))
        learned = (branches > 0) & (tokens != 2)
        rows.append(Example(tokens, positions, branches, learned, learned.astype(int)))
    return rows


def language(part: Literal["trunk", "heads"], start: Any = None) -> Any:
    from runner.testbed.language import tiny_vocabulary
    from training import shape, stage_language

    words = tiny_vocabulary()
    sizes = shape.SMALL.with_vocabulary(len(words.tokens))
    texts = stage_language.Texts(repeated, lambda n: repeated(10**6 + n), ("repeated",))
    settings = stage_language.Settings(part, part, rate=0.02 if part == "trunk" else 0.015)
    return stage_language.LanguageStage(
        stage_language.Model(sizes, words), texts, 3, settings, start
    )


def test_the_trunk_learns_then_the_heads_alone(tmp_path: Path) -> None:
    import torch

    from training import export, initial, loop

    trunk = language("trunk")
    clock = Ticking(trunk)
    loop.run(trunk, tmp_path, loop.Budget(120, 120, 1000), clock)
    assert np.mean(clock.losses[-5:]) < 0.8 * np.mean(clock.losses[:5])
    first = export.read(tmp_path / "tiny-step-trunk.gguf")
    assert first["blk.1.exp_probs_b.bias"].any(), "routers are balanced"
    begun = initial.starting(trunk._shape.language_table(), 3)
    untouched = "blk.5.nextn.eh_proj.weight"
    assert torch.equal(first[untouched], begun[untouched].half().float())

    heads = language("heads", first)
    clock = Ticking(heads)
    loop.run(heads, tmp_path, loop.Budget(20, 20, 1000), clock)
    assert np.mean(clock.losses[-5:]) < np.mean(clock.losses[:5])
    last = export.read(tmp_path / "tiny-step-heads.gguf")
    changed = {name for name in last if not torch.equal(last[name], first[name])}
    assert untouched in changed
    assert all(name.startswith(("blk.5.", "blk.6.", "blk.7.")) for name in changed)
    assert set(heads.scores()) == {
        f"head {head}, {name}" for head in range(3) for name in ("learned", "repeated")
    }


def test_padding_and_pictures_of_a_batch() -> None:
    import torch

    from training.model import PICTURE
    from training.stage_language import IGNORED, PADDING, Example, collate

    one, other = repeated(1)
    seen = np.arange(2 * 8, dtype=np.float32).reshape(2, 8)
    tokens = np.array([1, PICTURE, PICTURE, 5])
    place = np.arange(4)
    third = Example(tokens, place, 0 * place, place > 2, 0 * place, seen)
    batch = collate([one, other, third], 8)
    assert batch.rows.tokens.shape == (3, 34)
    assert (batch.rows.branches[1, 29:] == PADDING).all()
    assert (batch.targets[1, 28:] == IGNORED).all()
    assert batch.targets[0, 4].item() == one.tokens[5], "the first after the mark"
    assert batch.targets[2, :4].tolist() == [IGNORED, IGNORED, 5, IGNORED]
    assert batch.rows.pictures is not None
    assert torch.equal(batch.rows.pictures[2, 1:3], torch.from_numpy(seen))
    assert not batch.rows.pictures[:2].any()


def test_the_made_up_world_feeds_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("training.world", reason="the made-up world is not in this checkout")
    import torch

    from training import initial, shape, world_pictures, world_texts
    from training.model import PICTURE
    from training.vision import VisionEncoder

    one = world_pictures.pictures().unseen(0)
    assert one.pixels.shape == (728, 728, 3)
    assert one.centre_class.shape == one.cover_class.shape == (13, 13)

    weights = initial.starting(shape.SMALL.vision_table(), 1)
    encoder = VisionEncoder(shape.SMALL.vision, weights)
    kept = tmp_path / "tokens"
    monkeypatch.setattr(world_texts, "CHUNK", 4)
    features = world_texts.cached(encoder, range(2), kept)
    (kept / "0001.npy").unlink()
    encode, encoded = world_texts._encoded, []

    def counted(*each: Any) -> Any:
        encoded.append(each)
        return encode(*each)

    with monkeypatch.context() as patch:  # what is there is not encoded again
        patch.setattr(world_texts, "_encoded", counted)
        again = world_texts.cached(encoder, range(2), kept)
    assert len(encoded) == 4 < len(features.tokens)
    assert all((again.tokens[scene] == part).all() for scene, part in features.tokens.items())
    scaled = world_texts.unit_variance(weights, features)
    varied = world_texts.cached(VisionEncoder(shape.SMALL.vision, scaled), range(2))
    assert 0.99 < np.std(np.stack([*varied.tokens.values()])) < 1.01

    texts = world_texts.texts(world_texts.SEEING, features, features)
    for step in range(len(world_texts.SEEING)):
        for example in texts.seen(step, 0.0):
            places = int((example.tokens == PICTURE).sum())
            assert places == (0 if example.pictures is None else len(example.pictures))
            assert places % 169 == 0
            assert example.learned.any()
    model = world_texts.model(shape.SMALL)
    assert model.shape.text.vocabulary == len(model.words.tokens)
    assert torch.get_num_threads() == 1
