"""What is missing is offered once, to whoever stands between this and the user."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runner.base.errors import Refused
from runner.engine.process.memory_probe import Breakdown, DeviceMemory, Difference
from runner.hub import rate
from runner.plan.request import PlanRequest
from runner.run import download_missing, memory_check
from runner.run.download_missing import DownloadOffer, ensure_files, make_offer
from runner.run.prepare import Prepared, make_plan
from runner.run.request import ModelRequest
from runner.weights import links, pull
from tests.unit.run.frontend import quiet

MAC = "m4-max-128"


def prepared() -> Prepared:
    return make_plan(ModelRequest("", PlanRequest()), MAC)


def answering(offers: list[DownloadOffer], *, yes: bool) -> Callable[[DownloadOffer], bool]:
    def ask(offer: DownloadOffer) -> bool:
        offers.append(offer)
        return yes

    return ask


def test_an_offer_says_how_much_from_where_to_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offers: list[DownloadOffer] = []
    monkeypatch.setattr(rate, "recall", lambda: 1 << 20)
    with pytest.raises(Refused, match="not downloaded") as caught:
        ensure_files(prepared(), quiet(ask=answering(offers, yes=False)))
    (offer,) = offers
    assert offer.title == "Step-3.7-Flash IQ4_XS"
    assert offer.total_bytes == offer.left_bytes == sum(file.bytes for file in offer.files)
    assert offer.repos == ("stepfun-ai/Step-3.7-Flash-GGUF",)
    assert offer.folder.is_relative_to(tmp_path)
    assert offer.free_bytes > 0
    assert offer.rate == 1 << 20
    assert (offer.unmounted, offer.installed_quants) == ((), ())
    assert caught.value.why == "Cancelled."
    assert "Later: steprun models pull IQ4_XS" in caught.value.next


def test_an_unknown_rate_is_measured_before_the_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    offers: list[DownloadOffer] = []
    heard: list[str] = []
    monkeypatch.setattr(pull, "sample", lambda *_: 7 << 20)
    with pytest.raises(Refused):
        ensure_files(prepared(), quiet(heard, answering(offers, yes=False)))
    assert offers[0].rate == 7 << 20
    assert any("Measuring" in message for message in heard)


def test_an_unmounted_disk_is_part_of_the_offer(tmp_path: Path) -> None:
    file = prepared().wanted()[0]
    disk = tmp_path / "disk"
    disk.mkdir()
    with (disk / "a.gguf").open("wb") as sparse:
        sparse.truncate(file.bytes)
    links.link_adopted(file, "step-3.7-flash", disk / "a.gguf")
    disk.rename(tmp_path / "elsewhere")
    assert make_offer([file], "step-3.7-flash", None).unmounted == (str(disk),)


def test_a_plan_that_does_not_fit_is_never_offered_a_download() -> None:
    offers: list[DownloadOffer] = []
    small = make_plan(ModelRequest("", PlanRequest()), "cpu-24")
    with pytest.raises(Refused, match="does not fit") as caught:
        ensure_files(small, quiet(ask=answering(offers, yes=True)))
    assert offers == []
    assert caught.value.why == small.plan.reasons[0]


def test_warnings_and_shortfalls_are_reported_before_a_start(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = make_plan(ModelRequest(str(tiny / "tiny-step.gguf"), PlanRequest(context=4096)))
    found = replace(found, plan=replace(found.plan, warnings=("Mind this.",)))
    row = DeviceMemory("Host", 0, 0, 3 << 20)
    monkeypatch.setattr(memory_check, "ask_engine", lambda *_: Breakdown((row,)))
    short = (Difference("compute", 1 << 20, 3 << 20),)
    monkeypatch.setattr(memory_check, "shortfalls", lambda *_: short)
    heard: list[str] = []
    ready = ensure_files(found, quiet(heard))
    assert heard == ["Mind this.", "The engine counts 3 MiB for compute, the plan 1 MiB."]
    assert ready.files.weights == tiny / "tiny-step.gguf"
    assert ready.spec.argv[:2] == ("--model", str(ready.files.weights))


def test_a_stop_says_how_to_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    heard: list[str] = []
    monkeypatch.setattr(pull, "pull", stopped)
    with pytest.raises(KeyboardInterrupt):
        download_missing.download_files([], "m", quiet(heard))
    assert heard == ["Stopped. The download resumes when you run the same command again."]
