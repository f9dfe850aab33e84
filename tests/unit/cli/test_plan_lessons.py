"""`steprun plan` shows what earlier runs have taken beyond the plan, counts it, and forgets it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runner.base.units import GIB, MIB, size
from runner.cli.main import steprun
from runner.engine.installed.store import embedded
from runner.engine.process import lesson_book
from runner.engine.process.memory_probe import Breakdown, DeviceMemory, counted_bytes
from runner.machine.facts import Backend
from runner.machine.probes.driver import driver
from runner.plan.memory.ledger import LedgerEntry
from runner.plan.request import PlanRequest
from runner.run import lessons
from runner.run.files import locate
from runner.run.prepare import Prepared, make_plan, spec_of
from runner.run.request import ModelRequest
from tests.unit.docs.test_reference import DOCUMENTS, paths_of


def run(tiny: Path, *words: str) -> Result:
    model = str(tiny / "tiny-step.gguf")
    return CliRunner().invoke(steprun, ["plan", "--model", model, "--ctx", "1024", *words])


def prepare(tiny: Path) -> Prepared:
    return make_plan(ModelRequest(str(tiny / "tiny-step.gguf"), PlanRequest(context=1024)))


def took(tiny: Path, more: int) -> int:
    """Note a run that took so much more than its ledger has; return what was counted."""
    prepared = prepare(tiny)
    expected = lessons.expected(prepared.plan, prepared.engine)
    lesson_book.note(expected, expected.bytes + more, 0, "2026-11-27")
    return expected.bytes


def ledger(result: Result) -> dict[str, int]:
    return {row["item"]: row["bytes"] for row in json.loads(result.stdout)["ledger"]}


def test_a_miss_is_shown_and_counted_until_it_is_forgotten(home: Path, tiny: Path) -> None:
    before = run(tiny, "--json")
    assert "lesson" not in ledger(before)
    assert "lesson" not in json.loads(before.stdout)
    more = 1100 * MIB
    counted = took(tiny, more)
    after = run(tiny, "--json")
    assert ledger(after) == {**ledger(before), "lesson": more}
    document = json.loads(after.stdout)
    name = document["model"]
    assert document["lesson"] == {
        "bytes": more,
        "seen_bytes": more,
        "runs": 1,
        "model": name,
        "day": "2026-11-27",
    }
    # What was learnt is no part of what the next run is compared with: it does not add up.
    assert took(tiny, more) == counted
    assert ledger(run(tiny, "--json"))["lesson"] == more
    text = " ".join(run(tiny).stdout.split())
    assert f"lesson {size(more)} this machine has shown {size(more)} more than counted" in text
    forgotten = run(tiny, "--forget", "--json")
    assert forgotten.stderr == "Forgotten: what 2 runs had shown of memory.\n"
    assert ledger(forgotten) == ledger(run(tiny, "--json")) == ledger(before)
    assert run(tiny, "--forget").stderr == "Nothing was kept of earlier runs.\n"


def test_a_recorded_machine_has_learnt_nothing_here(home: Path, tiny: Path) -> None:
    took(tiny, 2 * GIB)
    assert "lesson" not in ledger(run(tiny, "--machine", "dgx-spark", "--json"))


def test_another_build_or_driver_begins_anew(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took(tiny, 2 * GIB)
    assert "lesson" in ledger(run(tiny, "--json"))
    monkeypatch.setattr(lessons, "build_of", lambda _: "another build")
    assert "lesson" not in ledger(run(tiny, "--json"))
    monkeypatch.undo()
    monkeypatch.setenv("STEPRUN_HOME", str(home))
    monkeypatch.setattr(lessons, "driver", lambda *_: "another driver")
    assert "lesson" not in ledger(run(tiny, "--json"))


def test_a_damaged_file_is_ignored_with_a_word(home: Path, tiny: Path) -> None:
    took(tiny, 2 * GIB)
    lesson_book.path().write_text("{")
    shown = run(tiny, "--json")
    assert "lesson" not in ledger(shown)
    said = " ".join(shown.stderr.split())
    assert "is damaged. To start it again: steprun plan --forget" in said
    run(tiny, "--forget")
    assert run(tiny, "--json").stderr == ""


def test_every_field_is_documented(home: Path, tiny: Path) -> None:
    took(tiny, 2 * GIB)
    document: Any = json.loads(run(tiny, "--json").stdout)
    assert {path for path in paths_of(document) if path.startswith("lesson")} <= {
        *DOCUMENTS["steprun.plan/1"]
    }


def test_the_account_of_the_engine_is_compared_as_a_whole(home: Path, tiny: Path) -> None:
    prepared = prepare(tiny)
    plan = prepared.plan
    spec = spec_of(prepared, locate(prepared).files)
    assert spec.expected is not None
    counted = counted_bytes(plan.items)
    account = Breakdown((DeviceMemory("Host", counted + 5 * MIB, 0, 0),))
    compared = lessons.with_account(spec, plan, account).expected
    assert compared is not None
    assert compared.account == spec.expected.bytes + 5 * MIB
    assert lessons.with_account(spec, plan, None) == spec
    cards = replace(plan, placement=replace(plan.placement, cards=(0,)))
    assert lessons.with_account(spec, cards, account) == spec


def test_cards_are_not_what_a_run_is_compared_with() -> None:
    """What a run took is of main memory."""
    prepared = make_plan(ModelRequest("", PlanRequest()), "4x5090")
    expected = lessons.expected(prepared.plan, embedded())
    main = prepared.plan.placement.held[-1].items
    assert expected.bytes == sum(i.bytes for i in main if i.item is not LedgerEntry.RESERVE)
    assert expected.driver


@pytest.mark.parametrize(
    ("backend", "files", "found"),
    [
        (Backend.CPU, {"nvidia": "580.95"}, "no driver"),
        (Backend.CUDA, {"nvidia": "580.95.05\n"}, "nvidia 580.95.05"),
        (Backend.VULKAN, {"nvidia": "580"}, "nvidia 580"),
        (Backend.ROCM, {"amdgpu": "6.16\x1b[31m" + "x" * 500}, "amdgpu 6.16" + "x" * 46),
        (Backend.ROCM, {}, "kernel 6.18.4"),
        (Backend.METAL, {}, "kernel 6.18.4"),
    ],
)
def test_which_driver_it_is(
    tmp_path: Path, backend: Backend, files: dict[str, str], found: str
) -> None:
    for name, text in files.items():
        (tmp_path / "sys/module" / name).mkdir(parents=True)
        (tmp_path / "sys/module" / name / "version").write_text(text)
    assert driver(backend, "6.18.4", tmp_path)[:57] == found
