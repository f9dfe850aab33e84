"""Draws what a terminal shows, text with ANSI colours, as a picture. Pure but for the font."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont
from rich.cells import cell_len
from rich.color import Color
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME, TerminalTheme
from rich.text import Text

Rgb = tuple[int, int, int]
FONT: Final = "DejaVuSansMono.ttf"  # has the blocks, the lines and the arrows that the chat uses
POINTS: Final = 16
COLOURS: Final = 256  # of a PNG with a palette, which is a third of one without


def _rgb(colour: tuple[int, ...]) -> Rgb:
    red, green, blue = colour
    return red, green, blue


_ANSI: Final = [_rgb(Color.from_ansi(n).get_truecolor(SVG_EXPORT_THEME)) for n in range(16)]
DARK: Final = TerminalTheme((24, 24, 24), (224, 224, 224), _ANSI[:8], _ANSI[8:])
LIGHT: Final = TerminalTheme((255, 255, 255), (32, 32, 32), _ANSI[:8], _ANSI[8:])


@dataclass(frozen=True, slots=True)
class Cell:
    """A character where it stands, and how it looks. `wide`: cells that it takes."""

    row: int
    column: int
    text: str
    front: Rgb
    back: Rgb
    wide: int = 1
    bold: bool = False
    italic: bool = False
    underline: bool = False
    strike: bool = False


def cells(shown: str, theme: TerminalTheme = DARK) -> Iterator[Cell]:
    """Yield the characters of a text with ANSI sequences (SGR); combining ones with their base."""
    # A colour lasts over the ends of lines: decoded in one, then taken apart.
    lines = Text.from_ansi(shown, no_wrap=True, end="").split("\n", allow_blank=True)
    for row, text in enumerate(lines):
        column = 0
        looks = [Style()] * len(text.plain)
        for span in text.spans:
            style = span.style if isinstance(span.style, Style) else Style.parse(span.style)
            for place in range(span.start, span.end):
                looks[place] += style
        place = 0
        while place < len(text.plain):
            end = place + 1
            while end < len(text.plain) and not cell_len(text.plain[end]):
                end += 1
            whole, style = text.plain[place:end], looks[place]
            wide = max(1, cell_len(whole))
            front, back = _colours(style, theme)
            yield Cell(
                row, column, whole, front, back, wide, bool(style.bold), bool(style.italic),
                bool(style.underline), bool(style.strike),
            )  # fmt: skip
            column += wide
            place = end


def _colours(style: Style, theme: TerminalTheme) -> tuple[Rgb, Rgb]:
    """Return the colours of a character and of its cell."""
    front = _rgb(style.color.get_truecolor(theme) if style.color else theme.foreground_color)
    behind = style.bgcolor
    back = _rgb(behind.get_truecolor(theme, foreground=False) if behind else theme.background_color)
    if style.reverse:
        front, back = back, front
    if style.dim:  # as terminals do it: half of the way to what is behind
        front = _rgb(tuple((one + other) // 2 for one, other in zip(front, back, strict=True)))
    return front, back


def filled(text: str) -> tuple[float, float, float, float] | None:
    """Return what a block element fills of its cell (left, top, right, bottom of 1); None: others.

    They are drawn as rectangles: the letters of a font leave seams between two of them.
    """
    code = ord(text[0])
    if code == 0x2580:  # ▀
        return 0, 0, 1, 0.5
    if 0x2581 <= code <= 0x2588:  # ▁ to █, from the bottom
        return 0, 1 - (code - 0x2580) / 8, 1, 1
    if 0x2589 <= code <= 0x258F:  # ▉ to ▏, from the left
        return 0, 0, (0x2590 - code) / 8, 1
    return {0x2590: (0.5, 0, 1, 1), 0x2594: (0, 0, 1, 0.125), 0x2595: (0.875, 0, 1, 1)}.get(code)


def draw(
    shown: str, columns: int, rows: int, theme: TerminalTheme = DARK, points: int = POINTS
) -> Image.Image:
    """Return the picture of a screen of so many cells."""
    fonts = _fonts(points)
    width = round(fonts[0].getlength("M"))
    height = sum(fonts[0].getmetrics())
    image = Image.new("RGB", (columns * width, rows * height), _rgb(theme.background_color))
    drawing = ImageDraw.Draw(image)
    known = list(cells(shown, theme))
    for cell in known:
        left, top = cell.column * width, cell.row * height
        box = left, top, left + cell.wide * width - 1, top + height - 1
        drawing.rectangle(box, fill=cell.back)
    for cell in known:
        left, top = cell.column * width, cell.row * height
        if part := filled(cell.text):
            edges = (
                left + round(part[0] * width), top + round(part[1] * height),
                left + round(part[2] * width) - 1, top + round(part[3] * height) - 1,
            )  # fmt: skip
            drawing.rectangle(edges, fill=cell.front)
        elif not cell.text.isspace():
            font = fonts[cell.bold + 2 * cell.italic]
            drawing.text((left, top), cell.text, fill=cell.front, font=font)
        for there, share in ((cell.underline, 0.93), (cell.strike, 0.55)):
            if there:
                y = top + round(share * height)
                drawing.line((left, y, left + cell.wide * width - 1, y), fill=cell.front)
    return image


def _fonts(points: int) -> list[ImageFont.FreeTypeFont]:
    stem = FONT.removesuffix(".ttf")
    names = (FONT, *(f"{stem}-{kind}.ttf" for kind in ("Bold", "Oblique", "BoldOblique")))
    return [ImageFont.truetype(name, points) for name in names]


def as_png(image: Image.Image) -> bytes:
    """Return a picture as a PNG with a palette, which is small."""
    out = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
