"""What is worth keeping, and within which bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.units import GIB
from runner.kv.policy import (
    LEFT_MOST,
    Bounds,
    Kept,
    bounds_for,
    budget,
    leaving,
    refused,
    worth,
    worth_writing,
)

SIZES = st.integers(1, 1 << 40)
FILES = st.lists(
    st.builds(Kept, st.uuids().map(str), SIZES, st.floats(0, 1e9)), max_size=20, unique_by=id
)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("20G", 20 * GIB),
        ("20 GiB", 20 * GIB),
        ("20gb", 20 * GIB),
        ("1.5T", 1536 * GIB),
        ("512M", GIB // 2),
        ("1000", 1000),
        ("off", 0),
        (" OFF ", 0),
        ("0", 0),
        *((text, None) for text in ("", "G", "-1G", "1e9", "20 Gi G", "nan", "٣G", "1" * 40)),
    ],
)
def test_a_budget_is_a_size_or_off(text: str, bytes_: int | None) -> None:
    assert budget(text) == bytes_


def test_the_bounds_of_a_disk() -> None:
    bounds = bounds_for(total=1000 * GIB, free=390 * GIB, held=10 * GIB)
    assert bounds == Bounds(most=40 * GIB, room=LEFT_MOST, a_day=100 * GIB)
    assert bounds_for(100 * GIB, 50 * GIB).room == 5 * GIB
    assert bounds_for(100 * GIB, 50 * GIB, most=7).most == 7


def test_a_full_store_does_not_shrink_its_own_budget() -> None:
    """What is stored counts as free: else each file that is saved would lower the bound."""
    assert (
        bounds_for(1000 * GIB, 400 * GIB).most == bounds_for(1000 * GIB, 380 * GIB, 20 * GIB).most
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
def test_no_more_goes_than_must(files: list[Kept], need: int) -> None:
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
