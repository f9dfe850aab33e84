"""What fits the screen."""

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
