"""Questions that a trained model answers one way only, and what is said of other answers."""

import json
from dataclasses import dataclass, field
from math import inf

import pytest
from PIL import Image

from runner.canary import meaning
from runner.canary.questions import Fault, Tokens
from runner.chat.wire import Message


@dataclass
class Doubtful:
    """A fake talk: it answers about crowds with the odds it is given, in their order."""

    answers: list[Tokens]
    asked: list[Message] = field(default_factory=list)

    async def tokens(self, messages: list[Message], count: int) -> Tokens:
        assert count == meaning.COUNTED
        self.asked += messages
        return self.answers[len(self.asked) - 1]


def known() -> list[Tokens]:
    rows = json.loads(meaning.DOUBTS.read_bytes())
    return [
        Tokens(tuple(token for token, _ in row), tuple(gap for _, gap in row), 1, 0, 0)
        for row in rows
    ]


def moved(by: float) -> list[Tokens]:
    return [Tokens(t.tokens, tuple(gap + by for gap in t.gaps), 1, 0, 0) for t in known()]


async def test_the_odds_of_an_exact_engine_pass() -> None:
    talk = Doubtful(known())
    await meaning.sureness(talk)  # type: ignore[arg-type]
    assert len(talk.asked) == len(meaning.CROWDS)
    await meaning.sureness(Doubtful(moved(0.1)))  # type: ignore[arg-type]


async def test_other_odds_are_told_as_a_coarse_cache() -> None:
    with pytest.raises(Fault, match=r"off by 0\.40 nats .* a cache of 4 bits does that"):
        await meaning.sureness(Doubtful(moved(0.4)))  # type: ignore[arg-type]


async def test_an_engine_without_odds_is_not_judged_by_them() -> None:
    silent = [Tokens(t.tokens, (inf,) * len(t.tokens), 1, 0, 0) for t in known()]
    await meaning.sureness(Doubtful(silent))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("colours", "kinds", "why"),
    [
        (0.1, 0.1, "does not reach the model"),
        (0.4, 1.0, "colours are mixed up"),
        (1.0, 0.4, "wrong order"),
        (0.5, 0.5, "computes wrongly"),
    ],
)
def test_a_fault_of_seeing_names_what_it_comes_from(colours: float, kinds: float, why: str) -> None:
    assert why in meaning._why(colours, kinds)


def test_pictures_are_drawn_as_the_model_knows_them() -> None:
    from io import BytesIO

    from training.world import pictures

    assert set(meaning.COLOURS.items()) <= set(pictures.COLOURS.items())
    assert set(meaning.SHAPES) <= set(pictures.SHAPES)
    assert meaning.SIDE == pictures.SIDE
    with Image.open(BytesIO(meaning.draw(meaning.SCENES[4]).data)) as image:
        assert image.getpixel((190, 200)) == pictures.COLOURS["yellow"]
        assert image.getpixel((540, 520)) == pictures.COLOURS["blue"]
        assert image.getpixel((700, 700)) == (255, 255, 255)


def test_every_shape_of_a_crowd_stays_in_its_place() -> None:
    assert all(len(crowd.split()) == 9 for crowd in meaning.CROWDS)
    (picture,) = meaning.crowded(meaning.CROWDS[0]).pictures
    assert (picture.width, picture.height, picture.tokens) == (728, 728, 171)
