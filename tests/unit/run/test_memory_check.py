"""Before a start the engine is asked what it would take; the engine's answer here is a fake one."""

from dataclasses import replace
from pathlib import Path

import pytest

from runner.base.errors import Refused
from runner.base.units import MIB
from runner.engine.installed.store import embedded
from runner.engine.process import memory_probe
from runner.engine.process.memory_probe import Breakdown, DeviceMemory
from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec
from runner.plan.memory.ledger import LedgerEntry
from runner.run import memory_check
from tests.unit.plan.test_choose import plan

ENGINE = embedded()


def account(found: Plan, more: int = 0) -> Breakdown:
    """Return what an engine would say that agrees with the plan, but for `more` of compute."""
    sizes = {item.item: item.bytes for item in found.items}
    caches = sizes[LedgerEntry.KV_FULL] + sizes[LedgerEntry.KV_SLIDING]
    row = DeviceMemory(
        "Host", sizes[LedgerEntry.WEIGHTS], caches, sizes[LedgerEntry.COMPUTE] + more
    )
    seen = sizes[LedgerEntry.PROJECTOR] + sizes[LedgerEntry.VISION_COMPUTE]
    return Breakdown((row,), projector=seen)


@pytest.fixture
def spec(tmp_path: Path) -> LaunchSpec:
    weights = tmp_path / "m.gguf"
    weights.write_bytes(b"1")
    return LaunchSpec(("--model", str(weights)))


def fake(monkeypatch: pytest.MonkeyPatch, told: Breakdown | None) -> list[int]:
    asked: list[int] = []

    def ask(*_: object) -> Breakdown | None:
        asked.append(1)
        return told

    monkeypatch.setattr(memory_probe, "probe_memory", ask)
    return asked


def test_an_engine_that_agrees_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, spec: LaunchSpec
) -> None:
    found = plan(120)
    asked = fake(monkeypatch, account(found))
    for _ in range(2):
        assert memory_check.ask_engine(spec, ENGINE) == account(found)
    assert asked == [1]
    assert memory_check.recall_account(spec, ENGINE) == account(found)
    assert memory_check.differences(found, account(found)) == ()


def test_a_difference_that_fits_is_reported() -> None:
    found = plan(120)
    assert found.placement.spare_bytes > 100 * MIB
    more = account(found, 100 * MIB)
    memory_check.must_have_room(found, more)
    (difference,) = memory_check.shortfalls(found, more)
    assert "for compute" in memory_check.in_words(difference)
    assert difference.engine - difference.planned == 100 * MIB


def test_where_the_plan_has_more_nothing_is_short() -> None:
    found = plan(120)
    less = account(found, -100 * MIB)
    assert len(memory_check.differences(found, less)) == 1
    assert memory_check.shortfalls(found, less) == ()
    memory_check.must_have_room(found, less)


def test_what_the_engine_says_would_not_fit_is_not_started() -> None:
    found = plan(120)
    more = account(found, found.placement.spare_bytes + 300 * MIB)
    with pytest.raises(Refused, match="after all") as caught:
        memory_check.must_have_room(found, more)
    assert "300 MiB do not fit" in caught.value.why
    assert f"--ctx {found.config.context // 2}" in caught.value.next


def test_an_engine_that_does_not_say_leaves_the_plan(
    monkeypatch: pytest.MonkeyPatch, spec: LaunchSpec
) -> None:
    asked = fake(monkeypatch, None)
    for _ in range(2):
        assert memory_check.ask_engine(spec, ENGINE) is None
    memory_check.must_have_room(plan(120), None)
    assert asked == [1, 1], "silence is not remembered"


def test_files_that_are_missing_were_never_asked_about() -> None:
    gone = LaunchSpec(("--model", "/nowhere/m.gguf"))
    assert memory_check.recall_account(gone, ENGINE) is None


def test_the_engine_is_asked_with_the_plans_own_cards(
    monkeypatch: pytest.MonkeyPatch, spec: LaunchSpec
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(memory_probe, "probe_memory", lambda *given: seen.append(given))
    env = (("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-0"),)
    memory_check.ask_engine(replace(spec, env=env), ENGINE)
    assert seen == [(ENGINE.program, spec.argv, env)]
