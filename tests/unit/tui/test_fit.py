"""What fits the screen."""

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
    assert len(fit.chip_lines([PICTURE] * 2, 2, prices=True)) == 2
    assert fit.chip_lines([PICTURE] * 5, 2, prices=True)[1] == "and 4 more"


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
