"""Thumbnails: half blocks, where there is room for them, and how they come to be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from textual.color import Color
from textual.content import Content
from textual.style import Style

from runner.base.errors import BadFile
from runner.chat.images.load import load_picture
from runner.chat.wire import Picture
from runner.tui.apart import the_workshop
from runner.tui.half_blocks import UPPER, cell_rows, fitted, half_block_rows, side_by_side
from runner.tui.settings import SettingsFile
from runner.tui.thumbnails import Thumbnails, composer_rows, turn_rows
from tests.fakes.sse_server import End, Say
from tests.unit.tui.test_app import chat, picture, user_home  # noqa: F401 - a fixture


def colours(row: Content) -> set[tuple[Color | None, Color | None]]:
    """Return the colours of its cells: above and below."""
    styles = [span.style for span in row.spans if isinstance(span.style, Style)]
    return {(style.foreground, style.background) for style in styles}


RED, BLUE = b"\xff\0\0", b"\0\0\xff"


@given(*[st.integers(1, 3024)] * 2, *[st.integers(1, 200)] * 2)
def test_a_picture_fits_and_keeps_its_shape(width, height, columns, rows):
    across, down = fitted(width, height, columns, rows)
    assert 1 <= across <= min(columns, width)
    assert 1 <= down <= min(2 * rows, height)
    assert cell_rows(down) <= rows


def test_a_cell_is_two_pixels():
    upper, lower = half_block_rows(RED * 2 + BLUE * 2 + RED + BLUE, 2)
    assert upper.plain == lower.plain == UPPER * 2
    (span,) = upper.spans  # equal cells share one
    assert (span.start, span.end) == (0, 2)
    assert colours(upper) == {(Color(255, 0, 0), Color(0, 0, 255))}
    assert colours(lower) == {(Color(255, 0, 0), None), (Color(0, 0, 255), None)}


def test_pictures_stand_side_by_side():
    one, two = half_block_rows(RED * 4, 1), half_block_rows(BLUE * 4, 2)
    rows = side_by_side([one, two], [1, 2])
    assert [row.plain for row in rows] == [f"{UPPER} {UPPER * 2}", f"{UPPER}   "]
    assert side_by_side([], []) == []


def test_small_terminals_have_few_rows_or_none():
    sizes = ((40, 10), (80, 24), (200, 50))
    assert [composer_rows(size) for size in sizes] == [0, 3, 6]
    assert [turn_rows(size) for size in sizes] == [0, 6, 12]


def test_a_picture_becomes_rows(tmp_path):
    shown = load_picture(picture(tmp_path))
    width, height = fitted(shown.width, shown.height, 20, 5)
    rows = half_block_rows(the_workshop().pixels(shown, width, height), width)
    assert len(rows) == 5
    assert rows[0].plain == UPPER * 13
    assert {pair for row in rows for pair in colours(row)} == {(Color(255, 0, 0),) * 2}


async def test_a_thumbnail_is_made_once_for_the_same_content(tmp_path, monkeypatch):
    made: list[str] = []
    arrived: list[int] = []

    def pixels(_, picture, width, height):
        made.append(picture.name)
        return RED * width * height

    monkeypatch.setattr(
        "runner.tui.workshop.Workshop.pixels",
        pixels,
    )
    waiting: list[Any] = []
    thumbnails = Thumbnails(waiting.append, lambda: arrived.append(1))
    one = Picture("one", "image/png", b"same", 40, 40, 171)
    two = Picture("two", "image/png", bytes(bytearray(b"same")), 40, 40, 171)
    before = thumbnails.beside([one, two], 100, 5)
    assert [row.plain for row in before.lines()] == [" " * 21] * 5
    assert len(waiting) == 1
    await waiting.pop()
    beside = thumbnails.beside([one, two], 100, 5)
    assert beside.state != before.state
    assert made == ["one"]
    assert arrived == [1]
    assert beside.lines()[0].plain == f"{UPPER * 10} {UPPER * 10}"
    assert not waiting
    lines = thumbnails.beside([one, two], 15, 5).lines()
    assert lines[0].plain == UPPER * 10, "the second one does not fit"


async def test_what_is_kept_is_bounded_and_what_cannot_be_drawn_is_blank(monkeypatch):
    def pixels(_, picture, width, height):
        if picture.name == "bad":
            raise BadFile("It cannot be drawn.")
        return RED * width * height

    monkeypatch.setattr("runner.tui.workshop.Workshop.pixels", pixels)
    monkeypatch.setattr("runner.tui.thumbnails.KEPT_BYTES", 1000)
    waiting: list[Any] = []
    thumbnails = Thumbnails(waiting.append, lambda: None)
    for number in range(5):
        name = "bad" if number == 4 else "fine"
        given = Picture(name, "image/png", bytes([number]), 10, 10, 171)
        thumbnails.beside([given], 100, 5)
        await waiting.pop()
    assert [number for _, number, *_ in thumbnails._kept] == [1] * 4  # three of 300 bytes, and none
    assert thumbnails.beside([given], 100, 5).lines()[0].plain == " " * 10
    assert not waiting


def drawn(folder, name="cat.png"):
    path = folder / name
    image = Image.new("RGB", (1920, 1080), "white")
    ImageDraw.Draw(image).ellipse((200, 100, 900, 900), fill="red")
    image.save(path)
    return path


async def test_a_picture_is_drawn_beside_its_chip_and_in_the_question(tmp_path):
    async with chat([Say("A disc."), End()], size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.sees(UPPER * 18, "[Image #1]")
        row = next(line for line in c.screen().split("\n") if "[Image #1]" in line)
        assert UPPER in row, "beside one another"
        await c.type("what is it?")
        await c.sees("A disc.", "ready", UPPER * 36)
        c.app.screen.text_select_all()
        assert UPPER not in (c.app.screen.get_selected_text() or "")


@pytest.mark.parametrize("size", [(40, 10), (80, 18), (50, 40)])
async def test_where_there_is_no_room_there_is_no_picture(tmp_path, size):
    async with chat([Say("A disc."), End()], size=size) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.sees("[Image #1]")
        await c.type("what is it?")
        await c.sees("A disc.")
        await c.ready()
        assert UPPER not in c.screen()
        assert not c.app.thumbnails._kept


async def test_a_picture_follows_the_size_of_the_terminal(tmp_path):
    async with chat([Say("A disc."), End()], size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.type("what is it?")
        await c.sees("A disc.", UPPER * 36)
        await c.pilot.resize_terminal(40, 10)
        await c.gone(UPPER)
        await c.pilot.resize_terminal(80, 24)
        await c.sees(UPPER * 21)


async def test_thumbnails_can_be_turned_off_for_good(tmp_path):
    async with chat([Say("A disc."), End()], size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.sees(UPPER)
        await c.type("/thumbnails off")
        await c.sees("Thumbnails are off.")
        await c.gone(UPPER)
        await c.until(lambda: SettingsFile().now.thumbnails == "off")
        await c.type("what is it?")
        await c.sees("A disc.")
        await c.ready()
        assert UPPER not in c.screen()
        await c.type("/thumbnails maybe")
        await c.sees("Type /thumbnails on")
        await c.type("/thumbnails")
        await c.sees("Thumbnails are on.", UPPER)


async def test_a_chat_that_is_resumed_shows_its_pictures(tmp_path):
    async with chat([Say("A disc."), End()], size=(100, 40)) as c:
        await c.paste(str(drawn(tmp_path)))
        await c.type("what is it?")
        await c.sees("A disc.", "ready")
        session = c.app.conversation.session.id
    async with chat(size=(100, 40), resume=session) as c:
        await c.sees("A disc.", UPPER * 36)
