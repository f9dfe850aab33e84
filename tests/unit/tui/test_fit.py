"""What fits the screen."""

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
    assert len(fit.chip_lines([PICTURE] * 2, 2, prices=True)) == 2
    assert fit.chip_lines([PICTURE] * 5, 2, prices=True)[1] == "and 4 more"


def test_the_last_words_of_a_long_text():
    assert fit.last_words("one two\nthree", 20) == "one two three"
    assert fit.last_words("one two three four", 14) == "… three four"
    assert len(fit.last_words("word " * 500, 40)) <= 40
