"""`steprun doctor`: its advice must work."""

import pytest

from runner.cli.commands import doctor
from runner.run import machine_view


def facts(machine: str) -> doctor.Facts:
    return doctor.facts_of(machine_view.probed(machine))


def test_missing_weights_of_a_model_that_fits_are_advised() -> None:
    found = doctor._weights(facts("m4-max-128"))
    assert found.state == "warn"
    assert "4 files of IQ4_XS not downloaded" in found.found
    assert found.fix.startswith("steprun models pull IQ4_XS")


def test_no_download_is_advised_of_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    small = facts("cpu-24")
    assert not small.plan.fits
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 1 << 30})())
    for check in (doctor._weights, doctor._disk):
        found = check(small)
        assert (found.state, found.fix) == ("ok", ""), found


def test_a_disk_that_is_too_small_is_named_where_the_model_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 1 << 30})())
    found = doctor._disk(facts("m4-max-128"))
    assert found.state == "warn"
    assert "HF_HOME" in found.fix
