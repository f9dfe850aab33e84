"""What a trained model is asked: pictures, tools and thinking that no training seed has shown.

Everything is made from seeds of `seeds.EVALUATION`; towns are names that training never uses, and
invented words in pictures are held out as well. Requests are made of a `Question` with
`template.messages`, its tools and its effort.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

from training.world import dialogues, pictures, seeds, text, tools
from training.world.pictures import COLOURS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from training.world.dialogues import Effort, Exchange
    from training.world.pictures import Scene
    from training.world.tools import Tool

PICTURE_KINDS = ("colour", "shape", "count", "number", "two pictures")
"""Sorts of questions about pictures, a fifth each."""

_WORD = re.compile(r"[A-Za-z]+|\d+")


@dataclass(frozen=True)
class Question:
    """One request, and what makes the reply right.

    `kind` is one of `PICTURE_KINDS`, ``weather``, ``zoom`` or ``thinking``.
    """

    kind: str
    exchange: Exchange
    effort: Effort = None
    tools: tuple[Tool, ...] = ()

    def is_right(self, answer: str) -> bool:
        """Judge an answer's text.

        Of each sort of word that is expected (colours, shapes, numbers) the answer has exactly the
        expected ones, in their order; anything else that is expected stands in it somewhere.
        """
        wanted = [word for phrase in self.exchange.expected for word in _WORD.findall(phrase)]
        sorts = {_sort(word) for word in wanted} - {"other"}
        said = _WORD.findall(answer)
        exact = [word for word in wanted if _sort(word) in sorts]
        loose = {word for word in wanted if _sort(word) == "other"}
        return [word for word in said if _sort(word) in sorts] == exact and loose <= {*said}

    def is_called(self, calls: Sequence[tuple[str, Mapping[str, str]]]) -> bool:
        """Judge the calls of a first reply, (name, arguments) each: all of them, in order."""
        wanted = [
            (call.name, {key: text.plain(value) for key, value in call.arguments})
            for call in self.exchange.steps[0].calls
        ]
        return [(name, dict(arguments)) for name, arguments in calls] == wanted


def about_pictures(number: int = 500) -> Iterator[Question]:
    """Ask about unseen pictures, every sort of question in turn."""
    used = iter(seeds.EVALUATION)
    for kind in islice(cycle(PICTURE_KINDS), number):
        yield Question(kind, next(exchange for exchange in map(_ask(kind), used) if exchange))


def picture(number: int) -> Scene:
    """Make the unseen picture of a number, to score a vision encoder by `painting.label`."""
    return pictures.mixed(seeds.EVALUATION[number])


def with_wrong_pictures(number: int = 500) -> Iterator[Question]:
    """Ask the same questions about other pictures: a model that looks is never right.

    The other pictures are those of a later question with the same text and another answer; a
    question that has none is left out.
    """
    questions = list(about_pictures(number))
    alike: defaultdict[str, list[Exchange]] = defaultdict(list)
    for question in questions:
        alike[question.exchange.question].append(question.exchange)
    for question in questions:
        own = question.exchange
        group = alike[own.question]
        start = group.index(own)
        others = (*group[start:], *group[:start])
        other = next((each for each in others if each.expected != own.expected), None)
        if other:
            yield replace(question, exchange=replace(own, pictures=other.pictures))


def weather(number: int = 200) -> Iterator[Question]:
    """Ask for the weather in 1, 2 or 3 towns; half of the questions need parallel calls."""
    some = [tools_ for tools_ in tools.SETS if tools.GET_WEATHER in tools_]
    for place in range(number):
        effort = dialogues.EFFORTS[place % 4]
        towns = (1, 2, 1, 3)[place // 4 % 4]
        dice = seeds.generator("weather", seeds.EVALUATION[place])
        exchange = tools.weather(dice, effort, held_out=True, towns=towns)
        yield Question("weather", exchange, effort, some[place % len(some)])


def zooms(number: int = 200) -> Iterator[Question]:
    """Ask for numbers that can only be read after a call of `zoom`.

    `exchange.steps[0].results` has the enlarged picture, `exchange.expected` the number.
    """
    some = [tools_ for tools_ in tools.SETS if tools.ZOOM in tools_]
    for place in range(number):
        effort = dialogues.EFFORTS[place % 4]
        seed = seeds.EVALUATION[place]
        scene = pictures.scene(seed, pictures.SMALL)
        exchange = tools.zooming(seeds.generator("zoom", seed), scene, effort)
        yield Question("zoom", exchange, effort, some[place % len(some)])


def thinking(number: int = 200) -> Iterator[Question]:
    """Ask each question at low, at medium and at high effort, so that lengths compare."""
    efforts = ("low", "medium", "high")
    for place in range(number):
        seed, effort = seeds.EVALUATION[place // 3], efforts[place % 3]
        dice = seeds.generator("thinking", seed)
        if seed % 2:
            exchange = dialogues.about_nothing(dice, effort, held_out=True)
        else:
            exchange = dialogues.about_picture(dice, pictures.scene(seed), effort)
        yield Question("thinking", exchange, effort)


def _ask(kind: str) -> Callable[[int], Exchange | None]:
    """Return what asks a question of a sort about the picture of a seed, if that has one."""

    def ask(seed: int) -> Exchange | None:
        dice = seeds.generator("question", kind, seed)
        if kind == "two pictures":
            return dialogues.about_pair(dice, pictures.pair(seed), None)
        scene = pictures.scene(seed, "number" if kind == "number" else "shapes")
        asked = (dialogues.about_picture(dice, scene, None) for _ in range(20))
        return next((exchange for exchange in asked if exchange.kind == kind), None)

    return ask


def _sort(word: str) -> str:
    if word.isdigit():
        return "number"
    if word in COLOURS:
        return "colour"
    return "shape" if word in SHAPES else "other"
