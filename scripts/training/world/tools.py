"""Tools of the made-up world: `get_weather` and `zoom`, their calls, and the use of results.

Towns are invented anew for each question, so that an argument can only be copied from it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from training.world import text
from training.world.dialogues import Call, Effort, Exchange, Step, at, by_effort
from training.world.pictures import PLACES, Scene, enlarge
from training.world.text import mark

if TYPE_CHECKING:
    import random

Tool: TypeAlias = dict[str, Any]
"""A tool as a request to /v1/chat/completions declares it; the template writes it as JSON, with
the keys in this order."""


def _declare(name: str, description: str, parameter: str, about: dict[str, Any]) -> Tool:
    parameters = {"type": "object", "properties": {parameter: about}, "required": [parameter]}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


GET_WEATHER = _declare(
    "get_weather",
    "Get the weather in a town.",
    "town",
    {"type": "string", "description": "Name of the town"},
)
ZOOM = _declare(
    "zoom",
    "Enlarge a part of the picture.",
    "place",
    {"type": "string", "enum": list(PLACES)},
)

SETS: tuple[tuple[Tool, ...], ...] = ((GET_WEATHER,), (ZOOM,), (GET_WEATHER, ZOOM))
"""The sets of tools that a conversation may have."""

SKIES = ("sunny", "cloudy", "rainy", "windy", "foggy", "snowy")


def call_weather(town: str) -> Call:
    """Call `get_weather` for a town."""
    return Call("get_weather", (("town", mark("town", town)),))


def weather(
    dice: random.Random, effort: Effort, *, held_out: bool, towns: int | None = None
) -> Exchange:
    """Ask for the weather in 1 to 3 towns, with that many parallel calls; then use the results."""
    count = towns or dice.choice((1, 1, 1, 2, 2, 3))
    names: list[str] = []
    while len(names) < count:
        new = text.invent(dice, held_out=held_out)
        if new not in names:
            names.append(new)
    question = _weather_question(dice, names)
    marked = [mark("town", name) for name in names]
    joined = ", ".join(marked)
    number = f"{mark('number', count)} town{'s' if count > 1 else ''}"
    thinking = by_effort(
        effort,
        f"{joined}.",
        f"{number}: {joined}. I call get_weather.",
        f"The question is: {question} It names {number}: {joined}. I do not know the weather "
        "there, so I call get_weather for each town.",
    )
    reports = [(dice.choice(SKIES), dice.randint(1, 30)) for _ in names]
    as_json = dice.random() < 0.5
    results = tuple(_report(sky, degrees, as_json=as_json) for sky, degrees in reports)
    said = [
        f"In {town} it is {mark('word', sky)}, {mark('number', degrees)} degrees."
        for town, (sky, degrees) in zip(marked, reports, strict=True)
    ]
    answer = " ".join(said)
    known = ", ".join(f"{mark('word', sky)} {mark('number', degrees)}" for sky, degrees in reports)
    after = by_effort(
        effort,
        f"{known}.",
        f"The results: {known}.",
        f"The results are there: {known}. I say them for each town: {joined}.",
    )
    calling = Step(thinking, calls=tuple(map(call_weather, names)), results=results)
    expected = (*names, *(str(degrees) for _, degrees in reports))
    return Exchange("weather", question, (calling, Step(after, answer)), expected=expected)


def zooming(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    """Ask for a number that is too small to read; the result of the call is a second picture."""
    small = scene.small
    if small is None:
        raise ValueError("there is nothing small in this scene")
    question = dice.choice(("What is the small number?", "Read the small number."))
    place, number = mark("place", small.place), mark("number", small.text)
    where = at(small.place)
    thinking = by_effort(
        effort,
        f"{place}.",
        f"Something small {where}. I zoom in.",
        f"The question is: {question} There is something small {where}. I cannot read it "
        "as it is, so I call zoom for that place.",
    )
    spelled = ", ".join(mark("number", digit) for digit in small.text)
    after = by_effort(
        effort,
        f"{number}.",
        f"From the left: {spelled}.",
        f"Now it is large enough. I read it from the left: {spelled}. So: {number}.",
    )
    calling = Step(
        thinking,
        calls=(Call("zoom", (("place", place),)),),
        results=(enlarge(scene, small.place),),
    )
    answer = f"The small number is {number}."
    expected = (small.text,)
    return Exchange("zoom", question, (calling, Step(after, answer)), (scene,), expected=expected)


def _weather_question(dice: random.Random, names: list[str]) -> str:
    joined = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    question = dice.choice(
        ("What is the weather in {}?", "How is the weather in {}?", "Weather in {}?")
    )
    return question.format(joined)


def _report(sky: str, degrees: int, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"weather": sky, "degrees": degrees})
    return f"{sky}, {degrees} degrees"
