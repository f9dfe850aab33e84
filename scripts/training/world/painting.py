"""Pixels of a scene, and what each of the 169 output tokens should know about it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training.world.pictures import (
    CELL,
    CLASSES,
    COLOUR_NAMES,
    GRID,
    PLACES,
    SHAPES,
    SIDE,
    Scene,
    Thing,
    polygon,
)

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(728, 728, 3): row, column, red-green-blue."""

Grid: TypeAlias = npt.NDArray[np.uint8]
"""(13, 13): one value per output token, row and column."""

_COARSE = 4
"""Labels are painted at a quarter of the size: 14 by 14 points a cell."""

_COVERED = 0.1
"""Share of a cell's points that a thing must cover, at least, to be what the cell shows."""

_RING = 0.55
"""A ring's hole, as a share of its radius."""

_GLYPH = 320
"""Font size in pixels of the glyphs that are kept; a picture's characters are scaled from them."""

_STROKE = 10
"""Pixels by which each glyph's strokes are thickened: signs in large type are bold."""


@dataclass(frozen=True)
class Cells:
    """Labels of a picture: places in `CLASSES` and in `COLOUR_NAMES`, 0 where there is nothing.

    `centre_class` and `centre_colour`: the thing whose centre is in the cell. `cover_class` and
    `cover_colour`: the thing that covers most of the cell's points.
    """

    centre_class: Grid
    centre_colour: Grid
    cover_class: Grid
    cover_colour: Grid


def paint(scene: Scene) -> Pixels:
    """Paint a scene, about 2 ms."""
    return np.asarray(_image(scene))


def png(scene: Scene) -> bytes:
    """Write a scene as a PNG file."""
    file = io.BytesIO()
    _image(scene).save(file, "PNG", compress_level=1)
    return file.getvalue()


def crop(image: Image.Image, place: str) -> Image.Image:
    """Cut a third of a picture out and enlarge it three times: what the tool `zoom` does."""
    row, column = divmod(PLACES.index(place), 3)
    third = SIDE / 3
    box = (column * third, row * third, (column + 1) * third, (row + 1) * third)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def label(scene: Scene) -> Cells:
    """Label the cells of a scene."""
    classes = np.array([0, *(CLASSES.index(thing.kind) for thing in scene.things)], np.uint8)
    colours = np.array([0, *(COLOUR_NAMES.index(thing.colour) for thing in scene.things)], np.uint8)
    centres = np.zeros((GRID, GRID), np.intp)
    for place, thing in enumerate(scene.things, start=1):
        centres[thing.cell] = place
    covers = _covers(scene)
    return Cells(classes[centres], colours[centres], classes[covers], colours[covers])


def _covers(scene: Scene) -> npt.NDArray[np.intp]:
    """Find which thing covers each cell, (13, 13): its place from 1, or 0."""
    image = Image.new("L", (SIDE // _COARSE, SIDE // _COARSE), 0)
    for place, thing in enumerate(scene.things, start=1):
        _draw(image, thing, place, 0, 1 / _COARSE)
    points = CELL // _COARSE
    tiles = np.asarray(image).reshape(GRID, points, GRID, points).transpose(0, 2, 1, 3)
    owners = tiles.reshape(GRID * GRID, -1).astype(np.intp)
    width = len(scene.things) + 1
    rows = np.arange(GRID * GRID)[:, None] * width
    counts = np.bincount((rows + owners).ravel(), minlength=GRID * GRID * width)
    counts = counts.reshape(-1, width)[:, 1:]
    best = counts.argmax(1)
    enough = counts.max(1) >= _COVERED * points * points
    return np.where(enough, best + 1, 0).reshape(GRID, GRID)


def _image(scene: Scene) -> Image.Image:
    if scene.enlarged:
        whole, place = scene.enlarged
        return crop(_image(whole), place)
    image = Image.new("RGB", (SIDE, SIDE), scene.ground)
    for thing in scene.things:
        _draw(image, thing, thing.rgb, scene.ground, 1)
    return image


def _draw(
    image: Image.Image,
    thing: Thing,
    fill: int | tuple[int, int, int],
    ground: int | tuple[int, int, int],
    scale: float,
) -> None:
    """Draw a thing onto an image that is `scale` times as large as a picture."""
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = (value * scale for value in thing.box)
    if thing.kind in {"circle", "ring"}:
        draw.ellipse((left, top, right, bottom), fill=fill)
        if thing.kind == "ring":
            x, y, hole = (left + right) / 2, (top + bottom) / 2, _RING * thing.size * scale
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=ground)
    elif thing.kind in SHAPES:
        draw.polygon([(x * scale, y * scale) for x, y in polygon(thing)], fill=fill)
    else:
        text = thing.text or thing.kind
        pitch = (right - left) / len(text)
        for place, character in enumerate(text):
            mask = _glyph(character, round(0.9 * pitch), round(bottom - top))
            if isinstance(fill, int):  # a label: a point is the character's, or it is not
                mask = mask.point(lambda value: 255 * (value > 127))
            x = left + place * pitch + (pitch - mask.width) / 2
            image.paste(fill, (round(x), round(top)), mask)


def _glyph(character: str, width: int, height: int) -> Image.Image:
    """Return a character's mask of a height in pixels, narrowed where it is wider than `width`."""
    whole = _whole_glyph(character)
    natural = round(whole.width * height / whole.height)
    return whole.resize((min(width, natural), height), Image.Resampling.BILINEAR)


@cache
def _whole_glyph(character: str) -> Image.Image:
    """Render a character with Pillow's own font, which needs no file on this machine."""
    font = ImageFont.load_default(_GLYPH)
    image = Image.new("L", (2 * _GLYPH, 2 * _GLYPH))
    start = (_GLYPH // 2, _GLYPH // 4)
    ImageDraw.Draw(image).text(start, character, fill=255, font=font, stroke_width=_STROKE)
    return image.crop(image.getbbox())
