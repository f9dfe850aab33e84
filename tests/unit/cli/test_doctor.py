"""`steprun doctor`: its advice must work."""

import json
import shutil
from pathlib import Path

import pytest

from runner.cli import doctor_report
from runner.cli.commands import doctor
from runner.machine.captures.capture import Capture
from runner.run import machine_view, saved_prompts


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


def test_a_report_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "adalovelace"
    home.mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr("getpass.getuser", lambda: "adalovelace")
    monkeypatch.setattr("platform.node", lambda: "ada-desk")
    checks = [
        {"check": "folders", "state": "ok", "found": f"state in {home}/x on ada-desk", "fix": ""}
    ]
    seen = Capture("linux-x86_64", {"/proc/version": "built by adalovelace@ada-desk"})
    found = json.dumps(doctor_report.report(checks, facts("m4-max-128").plan, [], seen))
    assert "state in ~/x on COMPUTER" in found
    assert "adalovelace" not in found
    assert "ada-desk" not in found
    assert json.loads(found)["plan"]["schema"] == "steprun.plan/1"


def test_a_short_name_is_not_cut_out_of_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "pi")
    monkeypatch.setattr("platform.node", lambda: "cuda")
    names = doctor_report._names()
    assert doctor_report._scrubbed("pixels, cudart and cuda", names) == (
        "pixels, cudart and COMPUTER"
    )


def test_the_folder_that_is_wanted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr("runner.weights.cache_layout.hub_cache", lambda: tmp_path / "file" / "hub")
    machine = facts("m4-max-128")
    found = doctor._folders(machine)
    assert found.state == "bad"
    assert str(tmp_path / "file" / "home") in found.found
    found = doctor._disk(machine)
    assert found.state == "warn"
    assert found.found.startswith(f"{tmp_path / 'file' / 'hub'} cannot be written")


def test_a_check_that_the_system_refuses_is_a_finding() -> None:
    def check(_: doctor.Facts) -> doctor.Finding:
        raise PermissionError(13, "Permission denied", "/root/x")

    found = doctor._safely(check, facts("cpu-24"))
    assert found.state == "bad"
    assert "/root/x" in found.found
    assert "STEPRUN_HOME" in found.fix


def test_saved_prompts_are_counted_and_a_full_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = facts("m4-max-128")
    folder = tmp_path / "kv"
    (folder / ("a" * 32)).mkdir(parents=True)
    (folder / ("a" * 32) / f"{'b' * 16}.kv").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(saved_prompts, "folder", lambda: folder)
    for free, state in ((1 << 40, "ok"), (1 << 30, "warn")):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        found = doctor._saved_prompts(machine)
        assert found.state == state
        assert found.found.startswith(f"3 MiB of saved prompts in {folder}, ")
