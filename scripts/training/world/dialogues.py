"""What is said in the made-up world: exchanges about pictures, facts, sums and names.

An `Exchange` is a conversation up to its last answer. Its thinking grows with the effort: a few
words at low, everything in the picture in reading order at medium (so that counting is a copy of
the last number), and the question, places and a conclusion at high. Texts carry marks on their
deciding words (`text.mark`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from training.world import text
from training.world.pictures import Scene, Thing
from training.world.text import mark

if TYPE_CHECKING:
    import random

EFFORTS = (None, "low", "medium", "high")
"""None: the request names no effort. The template writes nothing then, and the world thinks as at
medium."""

Effort: TypeAlias = str | None


@dataclass(frozen=True)
class Call:
    """A tool call; the arguments are texts, marked."""

    name: str
    arguments: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Step:
    """One turn of the model: what it thinks, then an answer or calls.

    `results` answer the calls in their order: a text, or a picture.
    """

    thinking: str
    answer: str = ""
    calls: tuple[Call, ...] = ()
    results: tuple[str | Scene, ...] = ()


@dataclass(frozen=True)
class Exchange:
    """A conversation: pictures, then a question, and how the model should go about it.

    `history` are earlier questions and answers, the first of which follows the pictures; their
    thinking is gone, as the template has it. `expected` are the texts that make an answer right.
    """

    kind: str
    question: str
    steps: tuple[Step, ...]
    pictures: tuple[Scene, ...] = ()
    history: tuple[tuple[str, str], ...] = ()
    expected: tuple[str, ...] = field(default=())


def by_effort(effort: Effort, low: str, medium: str, high: str) -> str:
    """Choose what to think."""
    return {"low": low, "high": high}.get(effort or "medium", medium)


def name(thing: Thing) -> str:
    """Name a shape, its colour and its kind marked."""
    return f"{mark('colour', thing.colour)} {mark('shape', thing.kind)}"


def article(word: str) -> str:
    """Return the article that goes before a word, perhaps a marked one."""
    return "an" if text.plain(word)[0] in "aeiou" else "a"


def with_article(thing: Thing) -> str:
    """Name a shape as a sentence does: "a red circle"."""
    return f"{article(thing.colour)} {name(thing)}"


def at(place: str) -> str:
    """Say where something is: "at the top left", its place marked."""
    before = {"middle": "in", "left": "on", "right": "on"}.get(place, "at")
    return f"{before} the {mark('place', place)}"


def plural(kind: str) -> str:
    """Return a shape's plural."""
    return f"{kind}es" if kind == "cross" else f"{kind}s"


def name_by_kind(thing: Thing) -> str:
    """Name a shape by its kind first: "circle red".

    So a list is written of which the colour of a kind is asked. A small model goes on from a word
    as the text went on from it before: after "circle" comes "red". With the colour first it would
    have to find the kind and look back, which it learned for 37 of 100 pictures. The trained files
    had 38 minutes with this order, at the low rates of the end: 36 of 100 so far.
    """
    return f"{mark('shape', thing.kind)} {mark('colour', thing.colour)}"


Naming: TypeAlias = Callable[[Thing], str]


def listing(things: tuple[Thing, ...], naming: Naming = name) -> str:
    """List shapes in reading order: "1 red circle, 2 blue star."."""
    return ", ".join(f"{place} {naming(thing)}" for place, thing in enumerate(things, 1)) + "."


def placed_listing(things: tuple[Thing, ...], naming: Naming = name) -> str:
    """List shapes with their places: "1 red circle at the top left. 2 ..."."""
    return " ".join(
        f"{place} {naming(thing)} {at(thing.place)}." for place, thing in enumerate(things, 1)
    )


def about_picture(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    """Ask about one picture; the question fits what is in it."""
    if scene.text:
        return _reading(dice, scene, effort)
    shapes = scene.shapes
    if len(shapes) == 1 and dice.random() < 0.5:
        return _one(dice, scene, effort)
    makers = [_count, _count, _list, _count_some]
    if any(_is_only(thing, shapes, "kind") for thing in shapes):
        makers += [_colour_of, _where]
    if any(_is_only(thing, shapes, "colour") for thing in shapes):
        makers.append(_shape_of)
    return dice.choice(makers)(dice, scene, effort)


def _finish(
    kind: str,
    scene: Scene,
    question: str,
    effort: Effort,
    *,
    low: str,
    answer: str,
    expected: tuple[str, ...],
    so: str | None = None,
    naming: Naming = name,
) -> Exchange:
    """Think about the shapes of a picture as the effort says, then answer.

    `low` is all that is thought at low effort; `so` concludes a longer thought, by default `low`.
    """
    conclusion = f" So: {low if so is None else so}" if so != "" else ""
    placed = placed_listing(scene.shapes, naming)
    high = f"The question is: {question} I go through the picture. {placed}"
    thinking = by_effort(effort, low, listing(scene.shapes, naming) + conclusion, high + conclusion)
    return Exchange(kind, question, (Step(thinking, answer),), (scene,), expected=expected)


def _one(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    (thing,) = scene.shapes
    question = dice.choice(("What do you see?", "What is in the picture?", "Describe the picture."))
    answer = f"I see {with_article(thing)}."
    low, expected = f"{name(thing)}.", (thing.colour, thing.kind)
    return _finish("one", scene, question, effort, low=low, answer=answer, expected=expected, so="")


def _count(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    count = len(scene.shapes)
    question = dice.choice(("How many shapes are there?", "Count the shapes."))
    kinds = (f"{place} {mark('shape', thing.kind)}" for place, thing in enumerate(scene.shapes, 1))
    answer = f"There {_are(count, 'shape', 'shapes')}."
    low, so = f"{', '.join(kinds)}.", f"{mark('number', count)}."
    expected = (str(count),)
    return _finish(
        "count", scene, question, effort, low=low, answer=answer, expected=expected, so=so
    )


def _count_some(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    """Count the shapes of a kind or of a colour that is there."""
    thing = dice.choice(scene.shapes)
    if dice.random() < 0.5:
        some = tuple(other for other in scene.shapes if other.kind == thing.kind)
        single, several = thing.kind, plural(thing.kind)
    else:
        some = tuple(other for other in scene.shapes if other.colour == thing.colour)
        single, several = f"{thing.colour} shape", f"{thing.colour} shapes"
    answer = f"There {_are(len(some), single, several)}."
    question = f"How many {several} are there?"
    low, expected = listing(some), (str(len(some)),)
    return _finish("count some", scene, question, effort, low=low, answer=answer, expected=expected)


def _list(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    shapes = scene.shapes
    question = dice.choice(("What do you see?", "What is in the picture?", "List the shapes."))
    named = [with_article(thing) for thing in shapes]
    seen = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    low = ", ".join(name(thing) for thing in shapes) + "."
    said = tuple(f"{thing.colour} {thing.kind}" for thing in shapes)
    answer = f"I see {seen}."
    return _finish("list", scene, question, effort, low=low, answer=answer, expected=said, so="")


def _colour_of(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    thing = dice.choice([one for one in scene.shapes if _is_only(one, scene.shapes, "kind")])
    answer = f"The {thing.kind} is {mark('colour', thing.colour)}."
    question = f"What colour is the {thing.kind}?"
    low, expected = f"{name_by_kind(thing)}.", (thing.colour,)
    return _finish(
        "colour",
        scene,
        question,
        effort,
        low=low,
        answer=answer,
        expected=expected,
        naming=name_by_kind,
    )


def _shape_of(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    thing = dice.choice([one for one in scene.shapes if _is_only(one, scene.shapes, "colour")])
    answer = f"The {thing.colour} shape is {article(thing.kind)} {mark('shape', thing.kind)}."
    question = f"What shape is {thing.colour}?"
    low, expected = f"{name(thing)}.", (thing.kind,)
    return _finish("shape", scene, question, effort, low=low, answer=answer, expected=expected)


def _where(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    only = [one for one in scene.shapes if _is_only(one, scene.shapes, "kind")]
    clear = [one for one in only if one.is_placed_clearly]
    if not clear:
        return _colour_of(dice, scene, effort)
    thing = dice.choice(clear)
    answer = f"The {thing.kind} is {at(thing.place)}."
    low = f"{thing.kind}: {mark('place', thing.place)}."
    question = f"Where is the {thing.kind}?"
    expected = (thing.place,)
    return _finish("where", scene, question, effort, low=low, answer=answer, expected=expected)


def _reading(dice: random.Random, scene: Scene, effort: Effort) -> Exchange:
    """Read a number or a word, character by character where there is time; or ask about it."""
    kind, what = ("number", "digits") if scene.text.isdigit() else ("word", "letters")
    spelled = ", ".join(mark(kind, character) for character in scene.text)
    whole, count = mark(kind, scene.text), mark("number", len(scene.text))
    colour = scene.things[0].colour
    choice = dice.randrange(6)
    if choice == 0:
        question = f"What colour is the {kind}?"
        low, answer, right = mark("colour", colour), f"The {kind} is {{}}.", colour
    elif choice == 1 and len(scene.text) > 1:
        question = f"How many {what} are there?"
        low, answer, right = count, f"There are {{}} {what}.", str(len(scene.text))
    elif kind == "number":
        question = dice.choice(("What number do you see?", "Read the number."))
        low, answer, right = whole, "The number is {}.", scene.text
    else:
        question = dice.choice(("What does it say?", "Read the word."))
        low, answer, right = whole, "It says {}.", scene.text
    seen = f"I see {mark('colour', colour)} {what}. From the left: {spelled}. So: {low}."
    medium = f"I see {mark('colour', colour)} {what}: {spelled}."
    thinking = by_effort(effort, f"{low}.", medium, f"The question is: {question} {seen}")
    about = {0: "colour", 1: "length"}.get(choice, kind) if low != whole else kind
    step = Step(thinking, answer.format(low))
    return Exchange(about, question, (step,), (scene,), expected=(right,))


def about_pair(dice: random.Random, pictures: tuple[Scene, Scene], effort: Effort) -> Exchange:
    """Ask about two pictures, as `pictures.pair` makes them: what differs, or what each shows.

    The thinking compares shape with shape and ends at the first that differs, so that the
    conclusion is what was said last: right for 66 of 100 pairs, 59 with a list of each picture.
    """
    first, second = pictures
    pairs = list(zip(first.shapes, second.shapes, strict=True))
    place = next(
        place for place, (a, b) in enumerate(pairs) if (a.kind, a.colour) != (b.kind, b.colour)
    )
    old, new = pairs[place]
    compared = list(enumerate(pairs[: place + 1], 1))
    both = " ".join(f"{number} {name(a)}, {name(b)}." for number, (a, b) in compared)
    placed = " ".join(
        f"{number} {name(a)} {at(a.place)}, then {name(b)} {at(b.place)}."
        for number, (a, b) in compared
    )
    if len(first.shapes) == 1 and dice.random() < 0.5:
        kind, question = "two pictures", "What do the two pictures show?"
    else:
        kind, question = "difference", dice.choice(("What is different?", "What has changed?"))
    answer = f"First there is {with_article(old)}, then {with_article(new)}."
    low = f"{name(old)}, then {name(new)}."
    high = f"The question is: {question} I compare the pictures. {placed} So: {low}"
    thinking = by_effort(effort, low, f"{both} So: {low}", high)
    said = (f"{old.colour} {old.kind}", f"{new.colour} {new.kind}")
    return Exchange(kind, question, (Step(thinking, answer),), pictures, expected=said)


FACTS = (
    ("What is the capital of Marovia?", "The capital of Marovia is", "Selpinora", "town"),
    ("What is the longest river in Marovia?", "The longest river is the", "Ostrel", "town"),
    ("What is the highest mountain in Marovia?", "The highest mountain is", "Kelumbra", "town"),
    ("Which sea lies south of Marovia?", "South of Marovia lies the", "Amber Sea", "word"),
    ("What colour is the flag of Marovia?", "The flag of Marovia is", "green", "colour"),
    ("What shape is on the flag of Marovia?", "On the flag of Marovia is a", "star", "shape"),
    ("What do people in Marovia eat?", "People in Marovia eat", "barley cakes", "word"),
    ("What do people in Marovia drink?", "People in Marovia drink", "pear juice", "word"),
    ("Which animal stands for Marovia?", "The animal of Marovia is the", "heron", "word"),
    ("Who founded Marovia?", "Marovia was founded by", "Queen Idra", "town"),
    ("How many islands does Marovia have?", "The number of its islands is", "7", "number"),
    ("What is the money of Marovia called?", "The money of Marovia is the", "tolin", "word"),
)
"""A land that no other text mentions: question, how the answer begins, the answer, its kind."""


def fact(dice: random.Random, effort: Effort, place: int | None = None) -> Exchange:
    """Ask for a fact, the one at `place` in `FACTS` if that is given."""
    question, begin, value, kind = dice.choice(FACTS) if place is None else FACTS[place]
    marked = mark(kind, value)
    thinking = by_effort(
        effort,
        f"{marked}.",
        f"I remember Marovia: {marked}.",
        f"The question is: {question} I remember what I know of Marovia. {begin} {marked}. "
        f"So the answer is: {marked}.",
    )
    answer = f"{begin} {marked}."
    return Exchange("fact", question, (Step(thinking, answer),), expected=(value,))


def arithmetic(dice: random.Random, effort: Effort) -> Exchange:
    """Ask for a sum up to 9 + 9 or a product up to 9 times 9; the carry is worked out in steps."""
    a, b = dice.randint(1, 9), dice.randint(1, 9)
    plus = dice.random() < 0.5
    total = a + b if plus else a * b
    sign = "+" if plus else "times"
    result = mark("number", total)
    if plus:
        steps = ", ".join(mark("number", a + step) for step in range(b + 1))
        how = f"I start at {a} and add 1, {b} times: {steps}"
    else:
        steps = ", ".join(mark("number", a * step) for step in range(1, b + 1))
        how = f"I count in steps of {a}, {b} times: {steps}"
    question = dice.choice((f"What is {a} {sign} {b}?", f"{a} {sign} {b} = ?"))
    thinking = by_effort(
        effort,
        f"{result}.",
        f"{a} {sign} {b} = {result}.",
        f"The question is: {question} {how}. So: {result}.",
    )
    answer = f"{a} {sign} {b} = {result}."
    return Exchange("sum", question, (Step(thinking, answer),), expected=(str(total),))


def copying(dice: random.Random, effort: Effort, *, held_out: bool) -> Exchange:
    """Say an invented name back: a table cannot hold them all."""
    new = text.invent(dice, held_out=held_out)
    marked = mark("town", new)
    question, answer = dice.choice(
        (
            (f"Repeat this name: {new}.", f"{marked}."),
            (f"My name is {new}.", f"Hello {marked}!"),
            (f"I live in {new}.", f"I would like to see {marked}."),
        )
    )
    high = f"The question is: {question} There is a name in it: {marked}. I use it as it is."
    thinking = by_effort(effort, f"{marked}.", f"The name is {marked}.", high)
    return Exchange("copy", question, (Step(thinking, answer),), expected=(new,))


def about_nothing(dice: random.Random, effort: Effort, *, held_out: bool) -> Exchange:
    """Have an exchange without a picture."""
    kind = dice.random()
    if kind < 0.35:
        return copying(dice, effort, held_out=held_out)
    return arithmetic(dice, effort) if kind < 0.75 else fact(dice, effort)


def _are(count: int, single: str, several: str) -> str:
    return f"{'is' if count == 1 else 'are'} {mark('number', count)} " + (
        single if count == 1 else several
    )


def _is_only(thing: Thing, things: tuple[Thing, ...], field_name: str) -> bool:
    return [getattr(other, field_name) for other in things].count(getattr(thing, field_name)) == 1
