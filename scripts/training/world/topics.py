"""What a row is about: an effort, tools, pictures, and an endless supply of conversations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING

from training.world import dialogues, pictures, seeds, tools
from training.world.tools import GET_WEATHER, SETS, ZOOM

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from training.world.dialogues import Effort, Exchange
    from training.world.pictures import Scene
    from training.world.tools import Tool

KINDS = ("talk", "picture", "pair", "weather", "zoom")
"""Without a picture, about one, about two; with tools, without and with a picture."""


@dataclass(frozen=True)
class Topic:
    """What all conversations of a row have in common, and where the next one is from."""

    kind: str
    effort: Effort
    tools: tuple[Tool, ...]
    pictures: tuple[Scene, ...]
    exchanges: Iterator[Exchange]


def topic(seed: int, kind: str, scenes: Sequence[Scene] = ()) -> Topic:
    """Make the topic of a seed and a kind.

    `scenes`: those to ask about, as `pool` makes them for this kind, whose features a trainer has
    at hand; by default each topic makes its own.
    """
    held_out = seeds.is_held_out(seed)
    dice = seeds.generator("topic", kind, seed)
    effort = dice.choice(dialogues.EFFORTS)
    declared: tuple[Tool, ...] = ()
    shown: tuple[Scene, ...] = ()
    if kind == "picture":
        shown = (dice.choice(scenes) if scenes else scene_for(seed),)
    elif kind == "pair":
        shown = _two_of(dice, scenes) if scenes else pictures.pair(seed)
    elif kind == "zoom":
        shown = _two_of(dice, scenes)[:1] if scenes else (pictures.scene(seed, pictures.SMALL),)
        declared = dice.choice([some for some in SETS if ZOOM in some])
    elif kind == "weather":
        declared = dice.choice([some for some in SETS if GET_WEATHER in some])
    elif kind != "talk":
        raise ValueError(f"{kind!r} is not a kind of topic")
    make = _maker(kind, dice, shown, effort, held_out=held_out)
    return Topic(kind, effort, declared, shown, (make() for _ in repeat(None)))


def pool(kind: str, some: Iterable[int], difficulty: float = 1.0) -> list[Scene]:
    """Make the scenes that rows of a kind can be about: every picture that they show is in it.

    For ``pair`` both pictures follow one another, for ``zoom`` a picture and its enlargement.
    """
    if kind == "picture":
        return [scene_for(seed, difficulty) for seed in some]
    if kind == "pair":
        return [scene for seed in some for scene in pictures.pair(seed, difficulty)]
    if kind == "zoom":
        return [scene for seed in some for scene in pictures.near_and_far(seed, difficulty)]
    raise ValueError(f"{kind!r} rows show no picture")


def scene_for(seed: int, difficulty: float = 1.0) -> Scene:
    """Make the scene that a picture topic of this seed is about."""
    kinds = ("one", "shapes", "shapes", "shapes", "number", "number", "word")
    return pictures.scene(seed, seeds.generator("kind", seed).choice(kinds), difficulty)


def _two_of(dice: random.Random, scenes: Sequence[Scene]) -> tuple[Scene, Scene]:
    """Choose two scenes that belong together."""
    place = 2 * dice.randrange(len(scenes) // 2)
    return scenes[place], scenes[place + 1]


def _maker(
    kind: str, dice: random.Random, shown: tuple[Scene, ...], effort: Effort, *, held_out: bool
) -> Callable[[], Exchange]:
    """Return what makes the next conversation of a topic.

    With tools, some need none: a model must not call one because it is there.
    """

    def talk() -> Exchange:
        return dialogues.about_nothing(dice, effort, held_out=held_out)

    def about() -> Exchange:
        return dialogues.about_picture(dice, shown[0], effort)

    def make() -> Exchange:
        if kind == "pair":
            return dialogues.about_pair(dice, (shown[0], shown[1]), effort)
        if kind == "zoom" and (not shown[0].shapes or dice.random() < 0.7):
            return tools.zooming(dice, shown[0], effort)
        if kind == "weather" and dice.random() < 0.8:
            return tools.weather(dice, effort, held_out=held_out)
        return _continued(dice, about if shown else talk)

    return make


def _continued(dice: random.Random, make: Callable[[], Exchange]) -> Exchange:
    """Let every fifth conversation follow an earlier question and its answer."""
    exchange, earlier = make(), make()
    if dice.random() >= 0.2 or earlier.question == exchange.question:
        return exchange
    return replace(exchange, history=((earlier.question, earlier.steps[-1].answer),))
