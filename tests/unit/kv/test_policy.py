"""What is worth keeping, and within which bounds."""

from hypothesis import given
from hypothesis import strategies as st

from runner.base.units import GIB
from runner.kv.policy import (
    Bounds,
    Candidate,
    leaving,
    refused,
    worth,
    worth_writing,
)

SIZES = st.integers(1, 1 << 40)
FILES = st.lists(
    st.builds(Candidate, st.uuids().map(str), SIZES, st.floats(0, 1e9)), max_size=20, unique_by=id
)


def test_worth_grows_with_seconds_uses_and_the_clock_and_falls_with_bytes() -> None:
    base = worth(10, 0, GIB, 0)
    assert base == 10
    assert worth(20, 0, GIB, 0) > base < worth(10, 1, GIB, 0)
    assert worth(10, 0, 2 * GIB, 0) < base < worth(10, 0, GIB, 1)
    # Each use counts less than the one before.
    assert worth(10, 2, GIB, 0) - worth(10, 1, GIB, 0) < worth(10, 1, GIB, 0) - base
    assert worth(10, 0, 0, 0) > 0


def test_what_is_quick_to_read_is_not_written() -> None:
    assert worth_writing(120, 2 * GIB, 3e9)
    assert not worth_writing(0.5, 2 * GIB, 3e9)
    assert not worth_writing(120, 2 * GIB, 3e9, stored=0.99)
    assert not worth_writing(0, 1, 1)
    assert not worth_writing(1, 1, 0)


@given(FILES, st.integers(-5, 1 << 42))
def test_no_more_goes_than_must(files: list[Candidate], need: int) -> None:
    gone = leaving(files, need)
    if gone is None:
        assert sum(each.bytes for each in files) < need
        return
    by_id = {each.id: each for each in files}
    freed = [by_id[each].bytes for each in gone]
    assert sum(freed) >= need
    assert sum(freed[:-1]) < max(need, 1)
    stay = [each.worth for each in files if each.id not in gone]
    assert all(by_id[each].worth <= worth_ for each in gone for worth_ in stay)


@given(SIZES, SIZES, SIZES, SIZES)
def test_what_exceeds_a_bound_is_refused_in_a_sentence(
    most: int, a_day: int, need: int, written: int
) -> None:
    why = refused(Bounds(most, 0, a_day), need, written)
    assert bool(why) is (need > most or written + need > a_day)
    assert why == "" or (why[0].isupper() and why.endswith("."))
