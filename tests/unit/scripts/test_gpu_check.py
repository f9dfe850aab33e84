"""`scripts/check_gpu`: the report is made whatever happens, and a wrong ledger is seen."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from gpu_check import host, report, steps
from gpu_check.load import Case, Loaded

GIB = 1024**3
MIB = 1024**2


def check(*, cpu: bool = False, seconds: float = 600) -> steps.Check:
    return steps.Check(cpu, None, None, None, seconds, Path("home"))


def step(name: str, take: Any, least_s: float = 0, *, gpu: bool = False) -> steps.Step:
    return steps.Step(name, take, least_s, gpu)


def raises(_check: steps.Check, _until: float) -> dict[str, Any]:
    raise RuntimeError("the engine did not start")


def test_a_failing_step_does_not_end_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        step("breaks", raises),
        step("wrong", lambda *_: {"wrong": ["caches differ"]}),
        step("right", lambda *_: {"figure": 1}),
    )
    monkeypatch.setattr(steps, "STEPS", rows)
    found = report.collect(check())
    assert [s["result"] for s in found["steps"]] == ["fail", "fail", "pass"]
    assert "did not start" in found["steps"][0]["why"]
    assert found["steps"][2]["figure"] == 1
    assert report.failed(found)


def test_what_has_no_time_left_or_no_gpu_is_said_to_be_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = (step("long", raises, 90), step("card", raises, gpu=True))
    monkeypatch.setattr(steps, "STEPS", rows)
    found = report.collect(check(cpu=True, seconds=60))
    assert [s["result"] for s in found["steps"]] == ["skipped", "skipped"]
    assert "takes 90 s or more" in found["steps"][0]["why"]
    assert "needs a GPU" in found["steps"][1]["why"]
    assert not report.failed(found)


def row(held: int | None, caches: list[float]) -> dict[str, Any]:
    plan = {
        "context": 4096,
        "ledger": [
            {"item": "weights", "bytes": 97 * GIB},
            {"item": "kv_full", "bytes": 192 * MIB},
            {"item": "overhead", "bytes": GIB},
            {"item": "reserve", "bytes": 2 * GIB},
        ],
    }
    seen = Loaded(caches, {}, None if held is None else held - GIB, GIB, 1.0)
    return steps._row(Case("case", (), ()), plan, seen)


def test_the_drivers_share_is_what_no_line_of_the_ledger_explains() -> None:
    found = row(100 * GIB, [192.0])
    assert found["planned_bytes"] == 98 * GIB + 192 * MIB  # without the reserve
    assert found["driver_bytes"] == 3 * GIB - 192 * MIB


def test_a_ledger_that_differs_from_the_card_or_the_log_is_wrong() -> None:
    assert not steps._wrong(row(98 * GIB, [192.0]))
    assert "planned -5" in steps._wrong(row(104 * GIB, [192.0]))[0]
    assert "caches 384.00 MiB, planned 192.00" in steps._wrong(row(98 * GIB, [384.0]))[0]
    assert not steps._wrong(row(None, [192.0])), "a driver that says nothing is no fault"


@pytest.mark.parametrize(
    ("answers", "used"),
    [
        (["23357", "1804"], (23357 + 1804) * MIB),
        (["[N/A]"], None),  # GB10, driver 580
        (["23357", "[N/A]"], None),
        ([], None),
    ],
)
def test_memory_in_use_as_nvidia_smi_prints_it(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], used: int | None
) -> None:
    monkeypatch.setattr(host, "_ask", lambda _field: answers)
    assert host.used_bytes() == used


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    report.write({"schema": report.SCHEMA, "steps": []}, path)
    assert json.loads(path.read_text("utf-8"))["schema"] == "steprun.gpu-check/1"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_step_that_is_out_of_time_is_not_begun_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def take(_check: steps.Check, until: float) -> dict[str, Any]:
        begun.append(until - time.monotonic())
        return {}

    monkeypatch.setattr(steps, "STEPS", (step("quick", take, 10), step("slow", take, 1e6)))
    report.collect(check(seconds=60))
    assert len(begun) == 1
    assert 0 < begun[0] <= 60


def test_without_the_engine_that_was_to_be_built_nothing_else_stands_in() -> None:
    with pytest.raises(steps.Skipped):
        check().with_engine()
    assert check(cpu=True).with_engine() == ()
    built = check()
    built.made["engine"] = "cuda-b1"
    assert built.with_engine() == ("--engine", "cuda-b1")
