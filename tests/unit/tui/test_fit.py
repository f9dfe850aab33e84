"""What fits the screen."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.chat.wire import Picture
from runner.tui import fit

PICTURE = Picture("cat.png", "image/png", b"", 1024, 768, 504)


@given(st.integers(0, 500), st.lists(st.booleans(), max_size=60))
def test_the_window_stays_small_and_inside(total, moves):
    window = fit.tail(total)
    assert window.stop == total
    for up in moves:
        window = fit.earlier(window) if up else fit.later(window, total)
        assert 0 <= window.start <= window.stop <= total
        assert len(window) <= fit.MOST
    for _ in range(60):
        window = fit.earlier(window)
    assert window.start == 0


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
