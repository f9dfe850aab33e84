"""The ladder down: each step frees what it says, and what it gives up is given up for good."""

from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.builder import recipe
from runner.machine.captures import presets
from runner.plan.ladder import LEAST_BYTES, SHORTEST, Rung, ladder, rung_for
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.placement import place

from .test_floors import plan_for

ALL = {"Q3_K_M", "IQ3_XXS"}
FITTING = [name for name in presets.names() if plan_for(name).fits]


def rungs_of(name: str) -> tuple[Rung, ...]:
    plan = plan_for(name)
    return ladder(plan, recipe.load_recipe(plan.machine.backend).run, ALL)


@pytest.mark.parametrize("name", FITTING)
def test_each_rung_is_a_plan_that_fits_and_holds_what_its_own_ledger_says(name: str) -> None:
    rungs = rungs_of(name)
    assert rungs[0].plan == plan_for(name)
    assert rungs[0].gives_up == ""
    assert len(rungs) > 2
    for above, rung in pairwise(rungs):
        assert above.held_bytes - rung.held_bytes >= LEAST_BYTES
        plan = rung.plan
        assert plan.fits
        defaults = recipe.load_recipe(plan.machine.backend).run
        was = plan.placement
        if not was.cards:  # placed anew, from the configuration alone
            anew = place(plan.machine, plan.model_spec, plan.variant, plan.config, defaults)
            items = [i for i in anew.items if i.item is not LedgerEntry.RESERVE]
            assert sum(item.bytes for item in items) == rung.held_bytes
        assert plan.settings.context == plan.config.context
        assert plan.settings.ubatch == plan.config.ubatch
        assert plan.settings.kv_type == plan.config.kv_type


@pytest.mark.parametrize("name", FITTING)
def test_a_step_changes_one_thing_and_keeps_what_was_given_up_before(name: str) -> None:
    for above, rung in pairwise(rungs_of(name)):
        before, after = above.plan.config, rung.plan.config
        changed = {
            f.name for f in fields(after) if getattr(before, f.name) != getattr(after, f.name)
        }
        if above.plan.variant != rung.plan.variant:
            assert not changed
        else:
            assert len(changed) == 1 or changed == {"checkpoints", "cache_ram_mib"}
        assert after.context <= before.context
        assert after.context >= min(SHORTEST, before.context)
        assert after.projector <= before.projector


def test_the_order_is_the_written_one() -> None:
    words = [rung.gives_up.split(":")[0] for rung in rungs_of("dgx-spark")[1:]]
    order = ["checkpoints", "context", "the f16 KV cache", "speed", "pictures", "quality"]
    assert words == sorted(words, key=order.index)
    assert words[0] == "checkpoints"
    assert words[-1] == "quality"


def test_no_quant_that_is_not_on_the_disk_takes_the_place_of_the_weights() -> None:
    plan = plan_for("dgx-spark")
    rungs = ladder(plan, recipe.load_recipe(plan.machine.backend).run)
    assert {rung.plan.variant for rung in rungs} == {plan.variant}


def test_an_f16_cache_becomes_q8_0_after_the_context() -> None:
    plan = plan_for("m3-ultra-512")
    assert plan.config.kv_type == "f16"
    words = [rung.gives_up for rung in rungs_of("m3-ultra-512")]
    assert any("f16" in each for each in words)


@given(st.integers(0, 150 << 30), st.integers(0, 9))
def test_the_rung_that_is_taken_is_the_first_with_room(room: int, above: int) -> None:
    rungs = RUNGS
    found = rung_for(rungs, room, above)
    if found is None:
        assert all(rung.held_bytes > room for rung in rungs[above + 1 :])
    else:
        assert found > above
        assert rungs[found].held_bytes <= room
        assert all(rung.held_bytes > room for rung in rungs[above + 1 : found])


RUNGS = tuple(replace(rung) for rung in rungs_of("dgx-spark"))
