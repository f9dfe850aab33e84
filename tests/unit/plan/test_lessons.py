"""What running has shown beyond the ledger, and how much of it is counted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.units import GIB, MIB
from runner.plan.choose import changed, choose
from runner.plan.launch import RunDefaults
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.memory.lessons import (
    LARGE_BYTES,
    MOST_SHARE,
    NOISE_BYTES,
    Lesson,
    Miss,
    lesson,
)
from runner.plan.request import PlanRequest
from tests.unit.plan.test_choose import DEFAULTS, STEP, machine

WHOLE = 128 * GIB
PLANNED = 10 * GIB


def own(more: int) -> Miss:
    return Miss(PLANNED, PLANNED + more, PLANNED + more, "Step", "2026-11-27")


def driven(more: int) -> Miss:
    return Miss(PLANNED, PLANNED // 2, PLANNED + more)


def taught(*misses: Miss, memory: int = WHOLE) -> int:
    found = lesson(misses, memory)
    return found.bytes if found else 0


@pytest.mark.parametrize(
    ("misses", "counted"),
    [
        ([], 0),
        ([own(-GIB), own(-GIB)], 0),  # never planned thinner
        ([own(NOISE_BYTES)] * 8, 0),
        ([own(NOISE_BYTES + 1)], 0),  # once is nothing
        ([own(NOISE_BYTES + 1)] * 2, NOISE_BYTES + 1),
        ([own(300 * MIB), own(500 * MIB), own(400 * MIB)], 400 * MIB),  # reached twice
        ([own(LARGE_BYTES)], LARGE_BYTES),
        ([own(3 * GIB), own(300 * MIB), own(300 * MIB)], 3 * GIB),
        ([driven(9 * GIB)], 0),  # it may have been another program's
        ([driven(9 * GIB), driven(2 * GIB)], 2 * GIB),
        ([driven(LARGE_BYTES)] * 8, 0),
        ([driven(9 * GIB), own(-MIB), own(-MIB)], 0),
    ],
)
def test_what_counts_is_large_or_was_seen_twice(misses: list[Miss], counted: int) -> None:
    assert taught(*misses) == counted


def test_of_a_large_plan_one_per_cent_is_noise() -> None:
    large = Miss(100 * GIB, 100 * GIB + 900 * MIB, 100 * GIB + 900 * MIB)
    assert taught(large, large) == 0


def test_no_more_than_a_part_of_the_machine_is_ever_counted_and_it_is_said() -> None:
    found = lesson([own(100 * GIB)], WHOLE)
    assert found is not None
    assert (found.bytes, found.seen_bytes) == (WHOLE * MOST_SHARE, 100 * GIB)
    assert "no more than 8.00 GiB is counted" in found.why


@given(
    st.lists(st.builds(Miss, *[st.integers(0, 1 << 50)] * 3), max_size=8), st.integers(0, 1 << 50)
)
def test_whatever_is_kept_a_lesson_is_bounded(misses: list[Miss], memory: int) -> None:
    assert 0 <= taught(*misses, memory=memory) <= memory * MOST_SHARE


def test_its_reason_says_how_often_and_how_to_take_it_back() -> None:
    found = lesson([own(300 * MIB), own(1300 * MIB)], WHOLE)
    assert found is not None
    assert found.why == (
        "this machine has shown 1.27 GiB more than counted (2 runs, last Step on 2026-11-27); "
        "to forget it: steprun plan --forget"
    )
    nasty = replace(found, model="\x1b[31m\n" * 50, day="\u202e\n")
    assert nasty.why.isprintable()


# --- in a plan

LESSON = Lesson(3 * GIB // 2, 3 * GIB // 2, 2)


def test_a_lesson_is_a_line_of_the_ledger_and_takes_room() -> None:
    here = machine(128)
    before = choose(here, STEP, PlanRequest(context=32768), DEFAULTS)
    after = choose(here, STEP, PlanRequest(context=32768), replace(DEFAULTS, lesson=LESSON))
    assert not any(item.item is LedgerEntry.LESSON for item in before.items)
    (item,) = [item for item in after.items if item.item is LedgerEntry.LESSON]
    assert (item.bytes, item.why) == (LESSON.bytes, LESSON.why)
    assert after.items[-1].item is LedgerEntry.RESERVE
    assert after.lesson is LESSON
    if (after.variant, after.config) == (before.variant, before.config):
        assert after.held_bytes - before.held_bytes == LESSON.bytes
    assert after.placement.spare_bytes >= 0


def test_a_step_down_counts_it_too() -> None:
    plan = choose(machine(128), STEP, PlanRequest(), replace(DEFAULTS, lesson=LESSON))
    lower = changed(plan, RunDefaults(), plan.variant, replace(plan.config, context=8192))
    assert any(item.item is LedgerEntry.LESSON for item in lower.items)
