"""The embedded engine is trusted as far as it was tested; beyond that, once it has passed."""

import tomllib
from dataclasses import replace
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from runner.base.errors import Refused
from runner.engine.installed import store
from runner.engine.installed.stamp import FEATURES, Feature, Kind
from runner.plan.request import PlanRequest
from runner.run.prepare import make_plan
from runner.run.request import ModelRequest
from tests.conftest import ROOT

PASSED = {name: Feature("pass", 0.5) for name in FEATURES}


@pytest.fixture
def installed(monkeypatch):
    def of(number: str) -> store.InstalledEngine:
        monkeypatch.setattr(store, "version", lambda _: number)
        return store.embedded()

    return of


def test_the_bound_is_the_one_that_pip_gets():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    rows = [Requirement(row) for row in project["dependencies"]]
    (row,) = [row for row in rows if row.name == "xllamacpp"]
    assert str(row.specifier) == store.TESTED
    assert row.specifier.contains(version("xllamacpp"))


@pytest.mark.parametrize("number", ["2026.10.11549", "2026.10.12000"])
def test_a_tested_one_needs_no_self_test(installed, number):
    store.check_tested(installed(number))


@pytest.mark.parametrize("number", ["2026.11.12361", "2027.1.1", "2026.10.1", "2026.11.1.dev1"])
def test_another_one_is_started_once_it_has_passed(installed, number):
    engine = installed(number)
    with pytest.raises(Refused, match=number) as caught:
        store.check_tested(engine)
    assert "steprun engine test embedded" in caught.value.next
    failed = engine.stamp.with_results({**PASSED, "text": Feature("fail")}, ())
    with pytest.raises(Refused):
        store.check_tested(store.update(engine, failed))
    store.check_tested(store.update(engine, engine.stamp.with_results(PASSED, ())))
    store.check_tested(store.embedded())


def test_other_kinds_are_asked_their_canary_anyhow(installed):
    engine = installed("2027.1.1")
    other = replace(engine.stamp, name="wheel", kind=Kind.WHEEL)
    store.check_tested(store.InstalledEngine(other, engine.folder))


def test_a_plan_to_run_asks_and_one_to_read_does_not(installed):
    installed("2027.1.1")
    request = ModelRequest("demo", PlanRequest(), engine="embedded")
    assert make_plan(request).engine.name
    with pytest.raises(Refused, match="has not passed its self-test"):
        make_plan(request, to_run=True)
