"""How a run keeps prompts: what they depend on, where they are, how much they may take."""

import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from runner.base.units import GIB
from runner.engine.installed import store
from runner.engine.installed.stamp import FEATURES, RESUMING, Feature
from runner.plan.request import PlanRequest, Profile
from runner.run import saved_prompts
from runner.run.download_missing import Ready
from runner.run.files import locate
from runner.run.prepare import make_plan, spec_of
from runner.run.request import ModelRequest
from runner.weights import verified
from runner.weights.verified import Verdict
from tests.unit.run.test_prepare_engine import engine, request

Disk = namedtuple("Disk", "total used free")  # noqa: PYI024 - as shutil returns it
WITHOUT_RESUMING = {name: Feature("pass") for name in FEATURES if name not in RESUMING}


def ready(asked: ModelRequest) -> Ready:
    prepared = make_plan(asked, to_run=True)
    files = locate(prepared).files
    return Ready(prepared, files, spec_of(prepared, files))


def own(tiny: Path, tmp_path: Path, profile: Profile = Profile.SEE) -> ModelRequest:
    """Return a request for copies of the small model's files, which a test may change."""
    asked = request(tiny, profile, mtp=profile is Profile.FAST)
    model, projector, mtp = (
        str(shutil.copy(given, tmp_path)) if given else ""
        for given in (asked.model, asked.projector, asked.mtp)
    )
    return replace(asked, model=model, projector=projector or None, mtp=mtp or None)


def test_the_embedded_engine_keeps_prompts_though_nobody_tested_it_here(tiny: Path) -> None:
    found = ready(request(tiny))
    kept = saved_prompts.kept(found, None)
    assert kept is not None
    assert kept.on_disk
    assert (kept.next_turn, kept.restart, kept.picture, kept.draft_heads) == (True,) * 4
    assert kept.spare_slots == 1 == found.prepared.plan.config.spare
    assert kept.slot_folder == kept.folder / kept.depends.key()
    assert "--parallel" in found.spec.argv
    assert "--slot-save-path" not in found.spec.argv, "only with somebody who saves"
    (why,) = [line for line in found.prepared.plan.reasons if line.startswith("Prompts ")]
    assert why == (
        "Prompts that were read are kept on the disk and survive a restart: the engine embedded "
        "passes the self-test for it."
    )
    argv = saved_prompts.with_slots(found.spec, kept, found.prepared.engine).argv
    assert argv[-4:-2] == ("--slot-save-path", f"{kept.slot_folder}{os.sep}")
    assert argv[-2:] == ("--slot-prompt-similarity", "0")
    assert kept.slot_folder.is_dir()
    if os.name == "posix":
        assert kept.slot_folder.stat().st_mode & 0o777 == 0o700


def test_what_was_found_out_about_the_embedded_engine_counts(tiny: Path) -> None:
    embedded = store.embedded()
    found = dict.fromkeys(FEATURES, Feature("pass")) | {"resume_restart": Feature("fail")}
    store.update(embedded, embedded.stamp.with_results(found, ()))
    kept = saved_prompts.kept(ready(request(tiny)), None)
    assert kept is not None
    assert not kept.on_disk
    old = store.embedded().stamp.with_results(WITHOUT_RESUMING, ())
    store.update(store.embedded(), old)
    kept = saved_prompts.kept(ready(request(tiny)), None)
    assert kept is not None
    assert kept.on_disk, "a stamp of before says nothing of it, the version does"


def test_an_engine_that_fails_keeps_nothing_and_another_is_named(tiny: Path) -> None:
    engine(broken=("resume_turn", "resume_restart"))
    found = ready(request(tiny))
    kept = saved_prompts.kept(found, None)
    assert kept is not None
    assert not kept.on_disk
    assert kept.spare_slots == 1, "the longest way in memory"
    (why,) = [line for line in found.prepared.plan.reasons if line.startswith("Prompts ")]
    assert why == (
        "Prompts that were read are not kept on the disk: the engine mine fails its self-test at "
        "saved prompts at a next turn and saved prompts after a restart; embedded passes it "
        "(--engine embedded)."
    )
    argv = saved_prompts.with_slots(found.spec, kept, found.prepared.engine).argv
    assert "--slot-save-path" not in argv
    assert saved_prompts.in_words(found.prepared, None) == ""


def test_the_owner_of_a_stamp_of_before_is_told_to_test_again(tiny: Path) -> None:
    mine = engine()
    store.update(mine, mine.stamp.with_results(WITHOUT_RESUMING, ()))
    found = ready(request(tiny))
    assert saved_prompts.kept(found, None) is None
    assert found.prepared.plan.config.spare == 0
    said = "was not tested for it (steprun engine test mine); embedded passes it"
    assert any(said in line for line in found.prepared.plan.reasons)


def test_off_is_off(tiny: Path) -> None:
    found = ready(replace(request(tiny), kv_disk=0))
    kept = saved_prompts.kept(found, 0)
    assert kept is None or not kept.on_disk
    assert "Prompts that were read are not kept on the disk (--kv-disk off)." in (
        found.prepared.plan.reasons
    )


def test_another_file_of_the_same_name_is_another_model(tiny: Path, tmp_path: Path) -> None:
    asked = own(tiny, tmp_path)
    before = saved_prompts.depends(ready(asked))
    assert saved_prompts.depends(ready(asked)) == before
    path = Path(asked.model)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    after = saved_prompts.depends(ready(asked))
    assert after.weights != before.weights
    assert replace(after, weights=before.weights) == before
    assert after.key() != before.key()


@pytest.mark.parametrize("name", ["projector", "mtp"])
def test_its_other_parts_count_where_they_are_used(tiny: Path, tmp_path: Path, name: str) -> None:
    profile = Profile.SEE if name == "projector" else Profile.FAST
    asked = own(tiny, tmp_path, profile)
    before = saved_prompts.depends(ready(asked))
    role = {"projector": "projector", "mtp": "draft_heads"}[name]
    assert getattr(before, role)
    assert not getattr(before, {"projector": "draft_heads", "mtp": "projector"}[name])
    path = Path(getattr(asked, name))
    os.utime(path, ns=(1, 1))
    assert getattr(saved_prompts.depends(ready(asked)), role) != getattr(before, role)


def test_a_verified_file_is_known_by_its_checksum_and_is_not_read(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = own(tiny, tmp_path)
    found = ready(asked)
    verified.remember(found.files.weights, Verdict("ab" * 32))
    assert saved_prompts.depends(found).weights == "ab" * 32


def test_the_cache_type_and_the_engine_count(tiny: Path) -> None:
    asked = request(tiny)
    f16, q8_0 = (
        saved_prompts.depends(ready(replace(asked, ask=replace(asked.ask, kv_type=kind))))
        for kind in ("f16", "q8_0")
    )
    assert (f16.kv_type, q8_0.kv_type) == ("f16", "q8_0")
    engine()
    other = saved_prompts.depends(ready(replace(asked, ask=PlanRequest(context=4096))))
    assert other.engine != f16.engine
    assert f16.engine.startswith("embedded ")


def test_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, most in ((40, 10), (11, 1), (9, 0), (1000, 64), (400, 64)):
        disk = Disk(2000 * GIB, 0, free * GIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, found=disk: found)
        assert saved_prompts.bounds(None).budget_bytes == most * GIB
        assert saved_prompts.bounds(5 * GIB).budget_bytes == 5 * GIB
    assert saved_prompts.bounds(None).keep_free_bytes == saved_prompts.KEEP_FREE_BYTES


def test_a_plan_says_which_engine_keeps_prompts_and_where(tiny: Path, home: Path) -> None:
    from click.testing import CliRunner

    from runner.cli.commands.plan import plan

    words = ["--model", str(tiny / "tiny-step.gguf"), "--ctx", "4096"]
    shown = CliRunner().invoke(plan, words, catch_exceptions=False).stdout
    text = " ".join(shown.split())
    assert "survive a restart: the engine embedded passes the self-test for it." in text
    assert f"are kept in {home / 'cache' / 'kv'} (--kv-disk)." in text
    away = CliRunner().invoke(plan, ["--machine", "dgx-spark"], catch_exceptions=False).stdout
    assert "--kv-disk" not in away
