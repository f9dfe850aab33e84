"""What is in a picture: flat shapes, numbers and words on a light ground, with exact labels.

A `Scene` is a picture before anyone painted it; it costs microseconds, so that a cache of vision
features can be asked about it for ever. Pixels are counted from the top left corner. Things stand
in the cells of a coarse layout of 1, 2 or 3 rows and columns and never overlap, which gives them a
reading order that nobody can dispute.

`difficulty` runs from 0 to 1: at 0 things are large, at 1 digits are 110 to 220 pixels high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from training.world import seeds

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

SIDE = 728
"""Width and height in pixels: the largest picture that Step looks at in one piece."""

CELL = 56
"""Pixels of one output token: four patches of 14."""

GRID = SIDE // CELL
"""Output tokens per row: 13, and 169 in all."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
DIGITS = tuple("0123456789")
LETTERS = tuple("ACEFHKLMNPRTUX")
"""Capitals that no digit and no shape looks like."""

SMALL = "small"
"""The class of a number that is too small to be read before it is enlarged."""

CLASSES = ("nothing", *SHAPES, *DIGITS, *LETTERS, SMALL)

GROUPS = {
    "shape": range(1, 1 + len(SHAPES)),
    "digit": range(CLASSES.index("0"), CLASSES.index("9") + 1),
    "letter": range(CLASSES.index(LETTERS[0]), CLASSES.index(SMALL)),
    SMALL: range(CLASSES.index(SMALL), len(CLASSES)),
}
"""Places in `CLASSES` that are scored each by itself."""

COLOURS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (235, 205, 0),
    "green": (40, 160, 60),
    "blue": (40, 90, 220),
    "purple": (140, 50, 180),
    "pink": (240, 120, 180),
    "black": (30, 30, 30),
}
COLOUR_NAMES = ("none", *COLOURS)
GROUNDS = ((255, 255, 255), (250, 240, 215), (226, 226, 226), (214, 232, 250))

PLACES = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
"""The thirds of a picture, in reading order."""

WORDS = (
    *("CAT", "HEN", "MAP", "PEN", "CAKE", "LAMP", "TREE", "TENT", "PEAR", "FERN", "PARK", "LEAF"),
    *("HARP", "NEXT", "TEA", "CAR", "RAT", "HAT", "ELK", "FAN", "NUT", "PLUM", "MAN", "LUX"),
)

Colour: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[float, float, float, float]

EDGE = 6
"""Pixels that a shape's centre keeps from the border of a cell, so that its cell is no chance."""


@dataclass(frozen=True)
class Thing:
    """One object: a shape, a character, or a small number.

    `kind` is one of `CLASSES`, `box` its (left, top, right, bottom) in pixels; `size` is a shape's
    radius or a character's height, in pixels, `angle` a shape's turn in radians. `text` is what a
    small number says.
    """

    kind: str
    colour: str
    rgb: Colour
    box: Box
    size: float
    angle: float = 0.0
    text: str = ""

    @property
    def centre(self) -> tuple[float, float]:
        """Locate the middle of the box, (x, y)."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def cell(self) -> tuple[int, int]:
        """Locate the output token that holds the centre, (row, column)."""
        x, y = self.centre
        return min(int(y // CELL), GRID - 1), min(int(x // CELL), GRID - 1)

    @property
    def place(self) -> str:
        """Name the third of the picture that holds the centre."""
        x, y = self.centre
        return PLACES[min(int(3 * y / SIDE), 2) * 3 + min(int(3 * x / SIDE), 2)]

    @property
    def is_placed_clearly(self) -> bool:
        """Tell whether the centre is at least 24 pixels from the next third."""
        edges = (SIDE / 3, 2 * SIDE / 3)
        return all(abs(value - edge) >= 24 for value in self.centre for edge in edges)


@dataclass(frozen=True)
class Scene:
    """A picture to paint: its things in reading order, its ground, the number or word it shows.

    `enlarged` is the picture and the place that this one shows three times as large.
    """

    kind: str
    things: tuple[Thing, ...]
    ground: Colour
    text: str = ""
    enlarged: tuple[Scene, str] | None = None

    @property
    def shapes(self) -> tuple[Thing, ...]:
        """List the shapes in reading order."""
        return tuple(thing for thing in self.things if thing.kind in SHAPES)

    @property
    def small(self) -> Thing | None:
        """Return the number that is too small to read, if there is one."""
        return next((thing for thing in self.things if thing.kind == SMALL), None)


def scene(seed: int, kind: str = "shapes", difficulty: float = 1.0) -> Scene:
    """Make the scene of a seed.

    `kind`: ``one`` (a single shape), ``shapes`` (1 to 9), ``number`` (1 to 3 digits), ``word`` (3
    or 4 letters) or ``small`` (a number to enlarge, beside up to three shapes).
    """
    held_out = seeds.is_held_out(seed)
    dice = seeds.generator("scene", kind, seed)
    ground = dice.choice(GROUNDS)
    if kind == "one":
        return Scene(kind, _shapes(dice, 1, difficulty), ground)
    if kind == "shapes":
        return Scene(kind, _shapes(dice, dice.randint(1, 9), difficulty), ground)
    if kind == "number":
        digits = dice.choice((1, 2, 3, 3))
        text = str(dice.randint(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1))
        return Scene(kind, _line(dice, text, difficulty), ground, text)
    if kind == "word":
        text = _word(dice, held_out=held_out)
        return Scene(kind, _line(dice, text, difficulty), ground, text)
    if kind == SMALL:
        return Scene(kind, _with_small(dice, difficulty), ground)
    raise ValueError(f"{kind!r} is not a kind of scene")


KINDS = ("one", "shapes", "number", "word", SMALL)


def mixed(seed: int, difficulty: float = 1.0) -> Scene:
    """Make a scene of any kind, enlarged ones too: what a vision encoder has to know."""
    kinds = ("one", *("shapes",) * 3, *("number",) * 3, "word", "word", SMALL, "enlarged")
    kind = seeds.generator("mixed", seed).choice(kinds)
    if kind == "enlarged":
        return near_and_far(seed, difficulty)[1]
    return scene(seed, kind, difficulty)


def near_and_far(seed: int, difficulty: float = 1.0) -> tuple[Scene, Scene]:
    """Make a picture with a small number, and the part of it that shows the number enlarged."""
    whole = scene(seed, SMALL, difficulty)
    return whole, enlarge(whole, next(thing.place for thing in whole.things if thing.kind == SMALL))


def pair(seed: int, difficulty: float = 1.0) -> tuple[Scene, Scene]:
    """Make two pictures that differ in one thing's colour or shape; the places are the same."""
    first = scene(seed, "one" if seed % 2 else "shapes", difficulty)
    first = replace(first, things=first.things[:4])
    dice = seeds.generator("pair", seed)
    place = dice.randrange(len(first.things))
    old = first.things[place]
    others = [(old.kind, colour) for colour in COLOURS if colour != old.colour]
    others += [(kind, old.colour) for kind in SHAPES if kind != old.kind]
    taken = {(thing.kind, thing.colour) for thing in first.things}
    kind, colour = dice.choice([other for other in others if other not in taken] or others)
    new = shape(kind, colour, old.centre, old.size, dice)
    things = (*first.things[:place], new, *first.things[place + 1 :])
    return first, replace(first, things=things, ground=dice.choice(GROUNDS))


def enlarge(whole: Scene, place: str) -> Scene:
    """Enlarge a third of a picture three times; a small number in it can then be read."""
    row, column = divmod(PLACES.index(place), 3)
    left, top = column * SIDE / 3, row * SIDE / 3
    things: list[Thing] = []
    for thing in whole.things:
        if thing.place != place:
            continue
        sides = zip(thing.box, (left, top, left, top), strict=True)
        box: Box = tuple(3 * (value - start) for value, start in sides)  # type: ignore[assignment]
        if thing.kind == SMALL:
            things += _characters(thing, box)
        else:
            things.append(replace(thing, box=box, size=3 * thing.size))
    text = "".join(thing.kind for thing in things if thing.kind in DIGITS)
    return Scene("enlarged", tuple(things), whole.ground, text, (whole, place))


def polygon(thing: Thing) -> list[tuple[float, float]]:
    """List the corners of a shape that has some, (x, y) in pixels around its centre of turning."""
    points = _corners(thing.kind)
    cos, sin = math.cos(thing.angle) * thing.size, math.sin(thing.angle) * thing.size
    turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in points]
    # The box knows where the shape stands; the corners know how far it reaches around that.
    x = thing.box[0] - min(point[0] for point in turned)
    y = thing.box[1] - min(point[1] for point in turned)
    return [(px + x, py + y) for px, py in turned]


def shape(
    kind: str, colour: str, centre: tuple[float, float], size: float, dice: random.Random
) -> Thing:
    """Make a shape whose box has the given centre; `size` is its radius in pixels."""
    angle = dice.uniform(-0.2, 0.2)
    if kind in {"circle", "ring"}:
        width = height = 2 * size
    else:
        corners = polygon(Thing(kind, colour, (0, 0, 0), (0, 0, 0, 0), size, angle))
        width = max(point[0] for point in corners)
        height = max(point[1] for point in corners)
    x, y = centre
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Thing(kind, colour, _shade(dice, colour), box, size, angle)


def _corners(kind: str) -> Sequence[tuple[float, float]]:
    """List a shape's corners around (0, 0), inside a circle of radius 1; y points down."""
    if kind == "square":
        return ((-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7))
    if kind == "triangle":
        return ((0.0, -1.0), (0.866, 0.5), (-0.866, 0.5))
    if kind == "cross":
        a, b = 0.28, 0.95
        half = ((-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a))
        return (*half, *((-x, -y) for x, y in half))
    if kind == "star":
        turns = [(math.pi * i / 5 - math.pi / 2, 1.0 if i % 2 == 0 else 0.42) for i in range(10)]
        return [(math.cos(turn) * far, math.sin(turn) * far) for turn, far in turns]
    raise ValueError(f"{kind!r} has no corners")


def _shapes(dice: random.Random, count: int, difficulty: float) -> tuple[Thing, ...]:
    """Place shapes in a layout of as few rows and columns as hold them, or one more."""
    fewest = math.isqrt(count - 1) + 1
    rows = dice.randint(fewest, 3)
    places = sorted(dice.sample(range(rows * rows), count))
    return tuple(_in_slot(dice, rows, place, difficulty) for place in places)


def _in_slot(dice: random.Random, rows: int, place: int, difficulty: float) -> Thing:
    pitch = SIDE / rows
    largest = min(pitch / 2 - 8, 150)
    smallest = min(80 - 40 * difficulty, largest)
    size = dice.uniform(smallest, largest)
    row, column = divmod(place, rows)
    centre = (
        _off_the_edge(dice, column * pitch + size + 4, (column + 1) * pitch - size - 4),
        _off_the_edge(dice, row * pitch + size + 4, (row + 1) * pitch - size - 4),
    )
    return shape(dice.choice(SHAPES), dice.choice(tuple(COLOURS)), centre, size, dice)


def _off_the_edge(dice: random.Random, low: float, high: float) -> float:
    """Draw a coordinate between two bounds that is `EDGE` pixels from the border of a cell."""
    value = dice.uniform(low, high)
    cell = value // CELL * CELL
    inside = min(max(value, cell + EDGE), cell + CELL - EDGE)
    return inside if low <= inside <= high else value


def _line(dice: random.Random, text: str, difficulty: float) -> tuple[Thing, ...]:
    """Write a line of characters somewhere, in one colour."""
    low, high = 250 - 140 * difficulty, 320 - 100 * difficulty
    pitch = 0.88 if text.isdigit() else 0.95
    height = min(dice.uniform(low, high), (SIDE - 24) / (pitch * len(text)))
    width = pitch * height * len(text)
    left = dice.uniform(12, SIDE - 12 - width)
    top = dice.uniform(12, SIDE - 12 - height)
    colour = dice.choice(tuple(COLOURS))
    line = Thing(SMALL, colour, _shade(dice, colour), (0, 0, 0, 0), height, text=text)
    return tuple(_characters(line, (left, top, left + width, top + height)))


def _characters(line: Thing, box: Box) -> list[Thing]:
    """Divide a line's box into one box per character."""
    left, top, right, bottom = box
    pitch = (right - left) / len(line.text)
    return [
        Thing(
            character,
            line.colour,
            line.rgb,
            (left + place * pitch, top, left + (place + 1) * pitch, bottom),
            bottom - top,
        )
        for place, character in enumerate(line.text)
    ]


def _with_small(dice: random.Random, difficulty: float) -> tuple[Thing, ...]:
    """Put a number of 2 or 3 digits, 34 to 44 pixels high, into one of nine places."""
    places = sorted(dice.sample(range(9), dice.randint(1, 4)))
    chosen = dice.choice(places)
    things = []
    for place in places:
        if place != chosen:
            things.append(_in_slot(dice, 3, place, difficulty))
            continue
        text = str(dice.randint(10, 999))
        height = dice.uniform(34, 44)
        width = 0.88 * height * len(text)
        row, column = divmod(place, 3)
        left = column * SIDE / 3 + dice.uniform(12, SIDE / 3 - 12 - width)
        top = row * SIDE / 3 + dice.uniform(12, SIDE / 3 - 12 - height)
        colour = dice.choice(tuple(COLOURS))
        box = (left, top, left + width, top + height)
        things.append(Thing(SMALL, colour, _shade(dice, colour), box, height, text=text))
    return tuple(things)


def _word(dice: random.Random, *, held_out: bool) -> str:
    """Choose a word, or invent one: only those can be read and not known."""
    if dice.random() < 0.5:
        return dice.choice(WORDS)
    vowels, others = "AEU", "CFHKLMNPRTX"
    while True:
        text = "".join(dice.choice(kind) for kind in (others, vowels, others))
        if (sum(map(ord, text)) % 8 == 0) == held_out:
            return text


def _shade(dice: random.Random, colour: str) -> Colour:
    """Move a colour by up to 12 of 255 steps, so that no exact value has to be learned."""
    red, green, blue = (
        min(max(value + dice.randint(-12, 12), 0), 255) for value in COLOURS[colour]
    )
    return red, green, blue
