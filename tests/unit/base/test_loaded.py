"""How far an engine has loaded the weights: what is claimed, and what is not."""

import pytest

from runner.base.loaded import LEAST, RATED_S, WINDOW_S, Loaded, LoadPace

GIB = 1 << 30


def test_share_rate_and_time_left_in_ever_fewer_words() -> None:
    assert Loaded(37 * GIB, 100 * GIB, rate=2 * GIB).forms(18) == (
        "37 % · 2.00 GiB/s · 32 s left",
        "37 % · 32 s left",
        "37 %",
    )


@pytest.mark.parametrize(
    ("loaded", "told"),
    [
        (Loaded(37 * GIB, 100 * GIB), "37 % · 18 s so far"),  # no rate yet, or nothing moves
        (
            Loaded(100 * GIB, 100 * GIB, rate=GIB),
            "99 % · 18 s so far",
        ),  # all is read: it is not ready
        (Loaded(130 * GIB, 100 * GIB, rate=GIB), "99 % · 18 s so far"),  # it read a part again
        (Loaded(995 * GIB // 10, 100 * GIB, rate=GIB), "99 % · 18 s so far"),
    ],
)
def test_no_time_left_is_claimed_where_none_is_known(loaded: Loaded, told: str) -> None:
    assert loaded.forms(18)[0] == told


def test_the_rate_is_that_of_the_last_seconds() -> None:
    pace = LoadPace(100 * GIB)
    told = [pace.note(float(second), 20 * GIB + second * GIB) for second in range(11)]
    assert [each.rate for each in told if each] == [0] * int(RATED_S) + [GIB] * 8
    for second in range(11, 32):  # the rest comes from a slower disk
        pace.note(float(second), 30 * GIB + (second - 10) * GIB // 2)
    assert pace.now is not None
    assert pace.now.rate == GIB / 2
    for second in range(32, 33 + int(WINDOW_S)):  # and then nothing moves
        pace.note(float(second), pace.now.done)
    assert (pace.now.rate, pace.now.left_s) == (0, 0)


def test_what_was_loaded_stays_so_though_the_engine_lets_go_of_what_it_mapped() -> None:
    pace = LoadPace(100 * GIB)
    pace.note(0, 60 * GIB)
    assert pace.note(1, 5 * GIB) == Loaded(60 * GIB, 100 * GIB)


def test_nothing_is_told_of_weights_that_its_own_libraries_could_pass_for() -> None:
    for whole in (0, LEAST - 1):
        assert LoadPace(whole).note(0, 100 << 20) is None
    assert LoadPace(LEAST).note(0, 100 << 20) is not None


def test_the_first_percent_is_not_told_as_it_may_be_the_engine_itself() -> None:
    pace = LoadPace(100 * GIB)
    assert pace.note(0, 0) is None, "the system does not say"
    assert pace.note(1, GIB - 1) is None
    assert pace.note(4, 4 * GIB) == Loaded(4 * GIB, 100 * GIB, rate=GIB)
