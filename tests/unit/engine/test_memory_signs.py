"""Signs beside the memory that is left: what they mean, and what happens where they lie or hang."""

import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.process.memory_signs import STALE_S, WINDOW_S, Pressure, SideReader, Stalls


def shares(looks: list[tuple[float, float]]) -> list[float]:
    stalls = Stalls()
    return [stalls.share(now, total) for now, total in looks]


def test_a_share_is_of_the_last_ten_seconds() -> None:
    looks = [(at / 4, 7 + min(at / 4, 20) / 2) for at in range(200)]  # half of 20 s, then none
    found = shares(looks)
    assert found[39] == 0, "no whole window yet"
    assert found[40] == found[80] == pytest.approx(0.5)
    assert found[100] == pytest.approx(0.25)
    assert found[120] == 0


@given(
    st.lists(st.tuples(st.floats(0, 20_000), st.floats(0, 1e9)), min_size=2, max_size=60),
)
def test_whatever_is_read_a_share_is_one(looks: list[tuple[float, float]]) -> None:
    assert all(0 <= share <= 1 for share in shares(looks))


def test_a_count_that_jumps_once_means_nothing() -> None:
    looks = [(at / 4, 1e6 if at == 60 else 5.0) for at in range(100)]
    assert set(shares(looks)) == {0}


def test_a_machine_that_was_asleep_or_stopped_begins_anew() -> None:
    looks = [(at / 4, at / 4) for at in range(60)]
    assert shares(looks)[-1] == 1
    assert shares([*looks, (looks[-1][0] + 3600, looks[-1][1] + 3600)])[-1] == 0


def test_the_worst_of_several_counts_is_taken() -> None:
    pressure = Pressure()
    found = [pressure.share(at, (0.0, at / 2, at / 5)) for at in range(21)]
    assert found[-1] == pytest.approx(0.5)
    assert pressure.share(21, (21 / 2,)) == 0, "others are counted now"
    assert pressure.share(22, ()) == 0


def test_a_reader_that_hangs_blocks_nobody_and_its_figure_gets_old() -> None:
    ticks, hung, clock = iter(range(10_000)), threading.Event(), [0.0]

    def read() -> tuple[float, ...]:
        clock[0] = float(next(ticks))
        if clock[0] >= 2 * WINDOW_S:
            reached.set()
            hung.wait(20)
        return (clock[0],)

    reached = threading.Event()
    aside = SideReader(read, 0.0, lambda: clock[0])
    assert reached.wait(10)
    clock[0] -= 1  # when it was last read
    before = time.monotonic()
    assert aside.share() == 1
    clock[0] += STALE_S
    assert aside.share() == 0
    assert time.monotonic() - before < 1
    aside.close()
    hung.set()


def test_one_that_fails_is_read_again() -> None:
    readings = iter([OSError("gone"), ValueError("odd")])
    read_well = threading.Event()

    def read() -> tuple[float, ...]:
        for error in readings:
            raise error
        read_well.set()
        return (0.0,)

    aside = SideReader(read, 0.0)
    assert read_well.wait(10)
    aside.close()


def test_looks_are_in_order() -> None:
    """Two totals at the same moment, as a coarse clock may have them, are no standstill."""
    times = [(at // 2 / 2, 0.0) for at in range(100)]
    assert all(a <= b for a, b in pairwise(times))
    assert set(shares(times)) == {0}
