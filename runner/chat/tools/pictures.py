"""The chat's own tools: look closer at a part of a picture, mark a place in it. No code is run.

Step-3.7 is trained to crop, zoom and mark while it thinks. What a tool returns is a picture of the
chat like any other, and can be looked at again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from runner.chat.images.editing import made_of, opened
from runner.chat.tools.region import (
    WHOLE,
    BadArguments,
    PicturePart,
    box_of,
    image_number,
    next_name,
    overview_size,
    part_of,
    shown_size,
)
from runner.chat.tools.toolbox import Call, Result, Tool
from runner.chat.wire import Picture, arguments_of

if TYPE_CHECKING:
    from PIL import Image

LABEL_CHARS: Final = 60
_ZOOM, _MARK = "zoom", "mark"
_WHERE: Final = (
    "Coordinates are thousandths of the image, whatever its size in pixels: x goes from 0 at the "
    "left edge to 1000 at the right, y from 0 at the top to 1000 at the bottom."
)


def _whole(description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": WHOLE, "description": description}


_IMAGE: Final = {
    "type": "integer",
    "minimum": 1,
    "description": "Number of the image: 1 is the first in the chat; images from tools count, too",
}
TOOLS: Final = (
    Tool(
        _ZOOM,
        "Look closer at a part of an image: you get it enlarged, as a further image. Use it for "
        f"small text and details. {_WHERE}",
        {
            "type": "object",
            "properties": {
                "image": _IMAGE,
                "x": _whole("left edge of the part"),
                "y": _whole("top edge of the part"),
                "w": _whole("width of the part"),
                "h": _whole("height of the part"),
            },
            "required": ["image", "x", "y", "w", "h"],
        },
    ),
    Tool(
        _MARK,
        "Draw a box, or a point where w and h are left out, on an image, with a label, to show "
        "a place: you get the marked image as a further image, and the user sees it. "
        "Coordinates are those of zoom.",
        {
            "type": "object",
            "properties": {
                "image": _IMAGE,
                "x": _whole("left edge of the box, or the point"),
                "y": _whole("top edge of the box, or the point"),
                "w": _whole("width of the box"),
                "h": _whole("height of the box"),
                "label": {"type": "string", "description": "a few words to write beside it"},
            },
            "required": ["image", "x", "y"],
        },
    ),
)


class PictureTools:
    """The toolbox of the pictures. `wanted`: whether its tools are offered now."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools that are offered now."""
        return TOOLS if self._wanted() else ()

    async def run(self, call: Call, pictures: Sequence[Picture]) -> Result:
        """Run a call, in a thread: a large picture takes a moment to decode."""
        return await asyncio.to_thread(run_call, call, pictures)


def run_call(call: Call, pictures: Sequence[Picture]) -> Result:
    """Return what a call comes to. What cannot be done is a result, too. Blocks."""
    given = arguments_of(call.arguments)
    if given is None:
        return Result("The arguments are not a JSON object.", failed=True)
    try:
        number = image_number(given.get("image"), len(pictures))
        part = part_of(given, point=call.name == _MARK)
    except BadArguments as why:
        return Result(f"{why} {_WHERE}", failed=True)
    source = pictures[number - 1]
    names = [picture.name for picture in pictures]
    made = (_marked if call.name == _MARK else _enlarged)(source, part, given)
    image, says = made
    picture = made_of(source, image, next_name(source.name, call.name, names))
    beyond = f" What was named lay outside in part. {_WHERE}" if part.beyond else ""
    return Result(f"Image {len(pictures) + 1}: {says(number)}.{beyond}", (picture,))


_Made = tuple["Image.Image", Callable[[int], str]]


def _enlarged(source: Picture, part: PicturePart, _: Mapping[str, Any]) -> _Made:
    from PIL import Image  # noqa: PLC0415 - only where a tool is called

    image = opened(source)
    box = left, top, right, bottom = box_of(part, image.width, image.height)
    size = shown_size(right - left, bottom - top)
    cut = image.crop(box).resize(size, Image.Resampling.LANCZOS)  # nothing from beyond its edges
    wide, high = WHOLE / image.width, WHOLE / image.height
    where = PicturePart(left * wide, top * high, right * wide, bottom * high).words
    times = size[0] / (right - left)
    how = f", enlarged {times:.1f} times" if times > 1 else ""
    return cut, lambda number: f"image {number}, {where}{how}"


def _marked(source: Picture, part: PicturePart, given: Mapping[str, Any]) -> _Made:
    from PIL import Image, ImageDraw  # noqa: PLC0415

    image = opened(source)
    size = overview_size(image.width, image.height)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    label = str(given.get("label") or "")
    label = " ".join(label.split())[:LABEL_CHARS]
    wide, high = size[0] / WHOLE, size[1] / WHOLE
    edges = (part.left * wide, part.top * high, part.right * wide, part.bottom * high)
    _draw(ImageDraw.Draw(image), edges, label, size)
    what = "box" if part.right > part.left and part.bottom > part.top else "point"
    named = f" labelled {label!r}" if label else ""
    words = f"with a {what}{named} at {part.words}"
    return image, lambda number: f"image {number} {words}"


def _draw(drawing: Any, edges: tuple[float, ...], label: str, size: tuple[int, int]) -> None:
    """Draw a box or a point in red with a white rim, which shows on anything, and its label."""
    from PIL import ImageFont  # noqa: PLC0415

    thick = max(2, max(size) // 240)
    left, top, right, bottom = edges
    if right - left >= 1 and bottom - top >= 1:
        rim = (left - thick, top - thick, right + thick, bottom + thick)
        drawing.rectangle(rim, outline="white", width=3 * thick)
        drawing.rectangle(edges, outline="red", width=thick)
    else:
        x, y, radius = (left + right) / 2, (top + bottom) / 2, 3 * thick
        around = (x - radius, y - radius, x + radius, y + radius)
        drawing.ellipse(around, fill="red", outline="white", width=thick)
        left, top, bottom = x, y - radius, y + radius
    if not label:
        return
    font = ImageFont.load_default(size=max(11, max(size) // 40))
    _, _, wide, high = drawing.textbbox((0, 0), label, font=font)
    gap = 2 * thick
    above = top - high - 2 * gap
    y = above if above >= 0 else min(bottom + gap, size[1] - high - gap)
    x = max(0, min(left, size[0] - wide - 2 * gap))
    drawing.rectangle((x, y, x + wide + 2 * gap, y + high + gap), fill="red")
    drawing.text((x + gap, y), label, fill="white", font=font)
