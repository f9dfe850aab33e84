"""The floors of what must stay free while an engine runs, for each machine that is recorded."""

import pytest

from runner.engine.builder import recipe
from runner.machine.captures import capture, presets
from runner.machine.facts import Backend
from runner.machine.probe import detect
from runner.plan.choose import Plan, choose
from runner.plan.floors import floors
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.request import PlanRequest

from .test_choose import STEP

MIB = 1 << 20


def plan_for(name: str, **ask: bool) -> Plan:
    machine = detect(capture.Replay(presets.load_preset(name)))
    return choose(machine, STEP, PlanRequest(**ask), recipe.load_recipe(machine.backend).run)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", presets.names())
def test_every_machine_keeps_room_and_a_plan_as_made_is_above_the_floors(name: str) -> None:
    plan = plan_for(name)
    found = floors(plan)
    # Nothing freezes with the half of what a plan keeps free, and no floor is nothing.
    assert 256 * MIB <= found.least < found.low
    main = plan.placement.held[-1]
    assert found.low < max(main.pool.reserve_bytes, 2 << 30)


@pytest.mark.parametrize(
    ("name", "low_mib", "least_mib"),
    [
        ("dgx-spark", 4_800, 3_200),  # of a reserve of 6.25 GiB
        ("m4-max-128", 1_536, 1_024),  # of 2 GiB
        ("strix-halo-windows", 2_304, 1_536),  # of 3 GiB
        ("cpu-128", 1_536, 1_024),  # of 2 GiB
        ("4x5090", 1_536, 1_024),  # of main memory, not of the cards
    ],
)
def test_the_floors_are_parts_of_the_reserve(name: str, low_mib: int, least_mib: int) -> None:
    found = floors(plan_for(name))
    assert (found.low // MIB, found.least // MIB) == (low_mib, least_mib)


def test_only_the_processor_needs_the_pages_of_mapped_weights() -> None:
    assert floors(plan_for("dgx-spark")).mapped == 0
    on_processor = plan_for("cpu-128")
    assert on_processor.machine.backend is Backend.CPU
    weights = [i for i in on_processor.items if i.item is LedgerEntry.WEIGHTS]
    assert floors(on_processor).mapped == sum(item.bytes for item in weights) > 0


def test_weights_that_may_stay_on_the_disk_may_leave_memory() -> None:
    paged = plan_for("cpu-24", allow_paging=True)
    assert paged.paged
    assert floors(paged).mapped == 0
