"""The pictures of a terminal: which cells a screen has, what they look like, what is drawn."""

import io

import pytest
from PIL import Image

from screenshots.drawing import DARK, LIGHT, as_png, cells, draw, filled

RED, BLUE = (200, 10, 20), (0, 0, 250)
ON_RED = "\x1b[48;2;200;10;20m"
BEHIND = (24, 24, 24)


def looks(shown: str) -> list[tuple[int, int, str]]:
    return [(cell.row, cell.column, cell.text) for cell in cells(shown)]


def test_characters_stand_in_their_cells():
    assert looks("ab\n c") == [(0, 0, "a"), (0, 1, "b"), (1, 0, " "), (1, 1, "c")]
    assert looks("日e\u0301x") == [(0, 0, "日"), (0, 2, "e\u0301"), (0, 3, "x")]


def test_a_colour_lasts_over_the_end_of_a_line_until_it_is_taken_off():
    found = list(cells(f"{ON_RED}a\nb\x1b[0mc"))
    assert [cell.back for cell in found] == [RED, RED, BEHIND]


def test_reversed_and_dim_text():
    back, front = tuple(DARK.background_color), tuple(DARK.foreground_color)
    reverse, dim = cells("\x1b[7ma\x1b[0;2mb")
    assert (reverse.front, reverse.back) == (back, front)
    assert dim.front == tuple((a + b) // 2 for a, b in zip(front, back, strict=True))


@pytest.mark.parametrize(
    ("text", "part"),
    [("▀", (0, 0, 1, 0.5)), ("▄", (0, 0.5, 1, 1)), ("█", (0, 0, 1, 1)), ("▌", (0, 0, 0.5, 1)),
     ("▐", (0.5, 0, 1, 1)), ("a", None), ("─", None)],
)  # fmt: skip
def test_blocks_fill_their_part_of_a_cell(text, part):
    assert filled(text) == part


def test_a_screen_is_drawn_with_blocks_to_their_edges():
    image = draw("\x1b[38;2;200;10;20;48;2;0;0;250m▀▀\x1b[0m", 4, 2)
    width, height = image.width // 4, image.height // 2
    assert image.getpixel((width, 1)) == RED, "no seam between two"
    assert image.getpixel((width, height - 1)) == BLUE
    assert image.getpixel((3 * width, height + 2)) == BEHIND
    with Image.open(io.BytesIO(as_png(image))) as again:
        assert again.convert("RGB").getpixel((width, 1)) == RED


def test_a_light_screen_is_light():
    assert draw("", 2, 1, LIGHT).getpixel((0, 0)) == (255, 255, 255)
