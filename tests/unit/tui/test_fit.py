"""What fits the screen."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from textual.scrollbar import ScrollBarRender

from runner.chat.turn import Turn
from runner.chat.wire import Picture
from runner.tui import fit

PICTURE = Picture("cat.png", "image/png", b"", 1024, 768, 504)


def test_a_turn_that_was_not_laid_out_takes_about_as_many_rows_as_it_has_lines():
    short, long = Turn("hi", answer="one"), Turn("hi", answer="word " * 400)
    assert fit.expected_rows(long, 100) - fit.expected_rows(short, 100) == 20
    assert fit.expected_rows(Turn("hi", answer="\n" * 50), 100) > 50
    assert fit.expected_rows(long, 0) > 400


def test_many_chips_take_few_rows():
    assert fit.chip_lines([PICTURE] * 2, 2, prices=False)[1].startswith("[Image #2]")
    assert fit.chip_lines([PICTURE] * 5, 2, prices=False)[1] == "and 4 more"
    for rows in (1, 2, 6):
        for count in range(17):
            assert len(fit.chip_lines([PICTURE] * count, rows, prices=True)) <= rows


def test_several_pictures_have_a_sum():
    assert len(fit.chip_lines([PICTURE], 6, prices=True)) == 1
    assert fit.chip_lines([PICTURE] * 3, 6, prices=True)[-1] == "together 1,512 tokens"
    lines = fit.chip_lines([PICTURE] * 3, 2, prices=True, rate=100)
    assert lines[1] == "and 2 more · together 1,512 tokens · ~15 s"


def test_a_long_name_leaves_room_for_the_price():
    line = "[Image #1] cat.png 1024×768 · 504 tokens · ~5 s (estimate)"  # noqa: RUF001
    known: dict[str, Any] = {"prices": True, "rate": 100, "estimated": True}
    assert fit.chip_lines([PICTURE], 6, **known) == [line]
    long = replace(PICTURE, name="a picture of my cat in the garden.png")
    (cut,) = fit.chip_lines([long], 6, width=62, **known)
    assert cut == line.replace("cat.png", "a picture …")
    assert "a p… 1024" in fit.chip_lines([long], 6, width=20, **known)[0]


def test_the_last_words_of_a_long_text():
    assert fit.last_words("one two\nthree", 20) == "one two three"
    assert fit.last_words("one two three four", 14) == "… three four"
    assert len(fit.last_words("word " * 500, 40)) <= 40


@given(st.integers(1, 60), st.integers(0, 5000), st.floats(0, 1), st.floats(0, 1))
def test_the_scrollbar_looks_the_same_where_its_thumb_is_the_same(room, more, one, other):
    def drawn(top: int) -> list[str]:
        bar = ScrollBarRender.render_bar(room, room + more, room if more else 0, int(top * 8) / 8)
        return [f"{segment.text}{segment.style}" for segment in bar.segments]

    tops = [int(more * part) for part in (one, other)]
    thumbs = [fit.thumb_at(top, room + more, room) for top in tops]
    if thumbs[0] == thumbs[1]:
        assert drawn(tops[0]) == drawn(tops[1])
