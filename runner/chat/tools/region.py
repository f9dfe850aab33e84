"""A part of a picture, as a model names it, and as it is cut out. Pure.

Coordinates are thousandths of a picture's width and height. The model does not know how many pixels
a picture has: it sees it scaled to 728 and, if it is larger, in crops of 504. So pixels would have
to be told and be reckoned with; a share of the picture can be read off. It is also what StepFun's
own models for screens, Qwen3-VL and Gemini are trained to answer with.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runner.chat.images.tokens import OVERVIEW_PX, SMALL_ASPECT

WHOLE: Final = 1000  # of a picture's width or height
LEAST_PX: Final = 16  # of a part's side: less shows nothing
_NUMBER: Final = re.compile(r"\s*([+-]?[0-9]{0,12}(?:\.[0-9]{1,12})?)\s*(%|px)?\s*")


class BadArguments(Exception):  # noqa: N818 - a tool's result, not an error of ours
    """Arguments that cannot be used; its text tells the model why."""


@dataclass(frozen=True, slots=True)
class PicturePart:
    """A part of a picture: its edges in thousandths, from the left and from the top.

    `beyond`: what was named did not lie within the picture.
    """

    left: float
    top: float
    right: float
    bottom: float
    beyond: bool = False

    @property
    def words(self) -> str:
        """Where it is: `x 100 to 400, y 0 to 250`."""
        edges = (self.left, self.right, self.top, self.bottom)
        left, right, top, bottom = (f"{edge:.0f}" for edge in edges)
        if (left, top) == (right, bottom):
            return f"x {left}, y {top}"
        return f"x {left} to {right}, y {top} to {bottom}"


def part_of(given: Mapping[str, Any], *, point: bool = False) -> PicturePart:
    """Return the part that `x`, `y`, `w` and `h` name, cut to the picture. They are not trusted.

    Texts with a number in them count, also as percent; shares of 1 where all of them are. `w` and
    `h` may be negative; with `point` they may be missing. Raises `BadArguments`.
    """
    size = {name: given[name] for name in ("w", "h") if given.get(name) is not None}
    if point and not size:
        size = {"w": 0, "h": 0}
    values = {name: given.get(name) for name in ("x", "y")} | size
    missing = [name for name in ("x", "y", "w", "h") if values.get(name) is None]
    if missing:
        raise BadArguments(f"Missing: {', '.join(missing)}.")
    numbers = [_number(name, values[name]) for name in ("x", "y", "w", "h")]
    if all(0 <= each <= 1 for each in numbers) and any(each % 1 for each in numbers):
        numbers = [each * WHOLE for each in numbers]
    x, y, w, h = numbers
    left, right = sorted((x, x + w))
    top, bottom = sorted((y, y + h))
    edges = (left, top, right, bottom)
    cut = [min(max(edge, 0.0), float(WHOLE)) for edge in edges]
    return PicturePart(cut[0], cut[1], cut[2], cut[3], beyond=list(edges) != cut)


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
        return float(value)
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if found is None or not found[1].strip("+-"):
        shown = repr(value)[:60]
        raise BadArguments(f"{name} must be a number from 0 to {WHOLE}, and is {shown}.")
    return float(found[1]) * (WHOLE / 100 if found[2] == "%" else 1)


Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a part in pixels."""


def box_of(part: PicturePart, width: int, height: int) -> Box:
    """Return the pixels to cut out of a picture of `width` x `height` for a part of it.

    At least a few, and where it costs nothing, some of what is around the part: a small picture is
    cheapest where it is not longer than 1.5 times its width (`images.tokens`).
    """
    left, right = _grown(part.left, part.right, width, min(LEAST_PX, width))
    top, bottom = _grown(part.top, part.bottom, height, min(LEAST_PX, height))
    wide, high = right - left, bottom - top
    if max(wide, high) <= OVERVIEW_PX:
        least = math.ceil(max(wide, high) / SMALL_ASPECT)
        if wide < least:
            left, right = _around(left, right, width, min(least, width))
        elif high < least:
            top, bottom = _around(top, bottom, height, min(least, height))
    return left, top, right, bottom


def _grown(begin: float, end: float, length: int, least: int) -> tuple[int, int]:
    first = math.floor(begin * length / WHOLE)
    last = math.ceil(end * length / WHOLE)
    return (first, last) if last - first >= least else _around(first, last, length, least)


def _around(first: int, last: int, length: int, size: int) -> tuple[int, int]:
    """Return `size` pixels around the middle of some, within `length`."""
    first = min(max(0, (first + last - size) // 2), length - size)
    return first, first + size


def shown_size(width: int, height: int) -> tuple[int, int]:
    """Return the size in which a part of `width` x `height` pixels is shown.

    One that fits Step's overview is enlarged until it fills it, which costs no more than showing
    it as it is. A larger one stays: each pixel is seen then, in crops.
    """
    longest = max(width, height)
    if longest >= OVERVIEW_PX:
        return width, height
    return _scaled(width, height, OVERVIEW_PX / longest)


def overview_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of a whole picture that is to be seen at a glance: the cheapest."""
    return _scaled(width, height, min(1.0, OVERVIEW_PX / max(width, height)))


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    # Rounded up: a shorter side that is rounded down may be just too short for the cheapest.
    return max(1, math.ceil(width * scale - 1e-6)), max(1, math.ceil(height * scale - 1e-6))


def image_number(given: object, count: int) -> int:
    """Return which of `count` pictures is meant, from 1; the latest where none is named.

    Texts count by the number in them: "2", "image 2", "#2". Where there is one, it is meant,
    whatever was named: some models count from 0. Raises `BadArguments`.
    """
    if not count:
        raise BadArguments("There is no image in this chat.")
    if given is None or count == 1:
        return count
    number: object = given
    if isinstance(given, str):
        found = re.fullmatch(r"[^0-9]{0,20}([0-9]{1,6})(?:\.0)?\s*", given)
        number = int(found[1]) if found else None
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or number not in range(1, count + 1)
    ):
        raise BadArguments(f"There is no image {str(given)[:40]}: the images are 1 to {count}.")
    return int(number)


def next_name(name: str, tool: str, names: Sequence[str]) -> str:
    """Return what the picture is called that a tool makes of one called `name`: `name (zoom 1)`."""
    base = source_name(name)
    made = re.compile(rf"{re.escape(base)} \({tool} [0-9]+\)")
    return f"{base} ({tool} {1 + sum(bool(made.fullmatch(each)) for each in names)})"


def source_name(name: str) -> str:
    """Return the name of the picture that a tool's picture was made of."""
    return re.sub(r" \((?:zoom|mark) [0-9]{1,6}\)$", "", name)
