"""What a plan owes to the engine it is for: its flags, what is off in it, what makes it safe."""

from pathlib import Path

import pytest

from runner.base.errors import Refused, UsageError
from runner.engine.installed import store
from runner.engine.installed.stamp import FEATURES, Feature
from runner.engine.installed.store import InstalledEngine
from runner.engine.process.flags import FLAGS
from runner.plan.launch import LaunchSpec
from runner.plan.request import PlanRequest, Profile
from runner.run import prepare
from runner.run.download_missing import ensure_files
from runner.run.files import locate
from runner.run.prepare import Prepared, engine_notice, make_plan
from runner.run.request import ModelRequest
from tests.unit.engine.test_store import made
from tests.unit.run.frontend import quiet

ALL = frozenset(FLAGS)


def spec_of(prepared: Prepared) -> LaunchSpec:
    return prepare.spec_of(prepared, locate(prepared).files)


def launch_line(prepared: Prepared) -> LaunchSpec:
    return prepare.launch_line(prepared, locate(prepared).files)


def engine(
    broken: tuple[str, ...] = (), safe: tuple[str, ...] = (), **changes: object
) -> InstalledEngine:
    """Return an engine that passed its canary, and is in use."""
    found = {name: Feature("fail" if name in broken else "pass") for name in FEATURES}
    new = made("mine", **{"flags": ALL, **changes})  # type: ignore[arg-type]
    proven = store.update(new, new.stamp.with_results(found, safe))
    store.use("mine")
    return proven


def request(tiny: Path, profile: Profile = Profile.SEE, *, mtp: bool = False) -> ModelRequest:
    heads = str(tiny / "tiny-step-mtp.gguf") if mtp else None
    return ModelRequest(
        str(tiny / "tiny-step.gguf"),
        PlanRequest(context=4096, profile=profile, with_mtp=mtp),
        projector=str(tiny / "mmproj-tiny-step.gguf"),
        mtp=heads,
    )


def test_the_engine_in_use_is_planned_for_and_started(tiny: Path) -> None:
    mine = engine()
    prepared = make_plan(request(tiny), to_run=True)
    assert prepared.engine.name == "mine"
    assert launch_line(prepared).argv[: len(mine.program)] == mine.program
    assert engine_notice(prepared) == "Engine: mine, cpu."


@pytest.mark.parametrize(("broken", "bears"), [((), True), (("long_word",), False)])
def test_a_launch_line_knows_whether_the_self_test_had_a_long_word(
    tiny: Path, broken, bears
) -> None:
    engine(broken=broken)
    assert spec_of(make_plan(request(tiny), to_run=True)).long_words is bears


def test_no_flag_is_passed_that_the_stamp_does_not_list(tiny: Path) -> None:
    few = frozenset({"--model", "--ctx-size", "--port", "--mmproj"})
    engine(flags=few)
    spec = spec_of(make_plan(request(tiny), to_run=True))
    known = {"--model", "--ctx-size", "--mmproj"}
    assert {word for word in spec.argv if word.startswith("--")} == known
    assert spec.lost == ()


def test_an_engine_that_lacks_what_the_plan_rests_on_is_not_started(tiny: Path) -> None:
    engine(flags=frozenset({"--model", "--ctx-size", "--port"}))
    prepared = make_plan(request(tiny), to_run=True)
    with pytest.raises(Refused, match="cannot run this plan") as caught:
        ensure_files(prepared, quiet())
    assert "--mmproj" in caught.value.why


def test_the_flags_that_make_it_safe_are_always_passed_and_once(tiny: Path) -> None:
    engine(safe=("--no-repack",))
    prepared = make_plan(request(tiny), to_run=True)
    assert spec_of(prepared).argv.count("--no-repack") == 1
    assert launch_line(prepared).argv.count("--no-repack") == 1


def test_what_fails_in_the_engine_is_off_and_the_plan_says_so(tiny: Path) -> None:
    engine(broken=("mtp_picture",))
    plan = make_plan(request(tiny, mtp=True), to_run=True).plan
    assert (plan.config.projector, plan.config.mtp) == (True, False)
    assert any("Draft heads are off" in warning for warning in plan.warnings)
    heads = next(choice for choice in plan.choices if choice.what == "draft heads")
    assert (heads.asked, heads.planned) == ("yes", "no")
    assert "steprun engine test" in heads.why


def test_what_nobody_asked_for_is_not_complained_about(tiny: Path) -> None:
    engine(broken=("mtp_picture", "tools"))
    plan = make_plan(request(tiny), to_run=True).plan
    assert not any("off" in warning for warning in plan.warnings), plan.warnings


def test_without_pictures_the_heads_still_draft(tiny: Path) -> None:
    engine(broken=("mtp_picture",))
    plan = make_plan(request(tiny, Profile.FAST, mtp=True), to_run=True).plan
    assert (plan.config.projector, plan.config.mtp) == (False, True)


def test_an_engine_that_cannot_see_is_given_no_projector(tiny: Path) -> None:
    engine(broken=("picture", "mtp"))
    prepared = make_plan(request(tiny, mtp=True), to_run=True)
    assert not prepared.plan.config.projector
    assert not prepared.plan.config.mtp
    assert "--mmproj" not in spec_of(prepared).argv
    said = " ".join(prepared.plan.warnings)
    assert "Image input is off" in said
    assert "Draft heads are off" in said


def test_another_machines_plan_owes_nothing_to_the_engine_here(tiny: Path) -> None:
    engine(broken=("picture",), safe=("--no-repack",))
    prepared = make_plan(ModelRequest("", PlanRequest()), "m4-max-128")
    assert prepared.plan.config.projector
    assert launch_line(prepared).argv[0] == "llama-server"
    assert "--no-repack" not in launch_line(prepared).argv


def test_an_engine_is_asked_for_by_name(tiny: Path) -> None:
    engine()
    wanted = ModelRequest(
        str(tiny / "tiny-step.gguf"), PlanRequest(context=4096), engine="embedded"
    )
    assert make_plan(wanted, to_run=True).engine.name == "embedded"
    with pytest.raises(UsageError, match="no engine 'other'"):
        make_plan(ModelRequest("", PlanRequest(), engine="other"), to_run=True)


def test_an_engine_that_is_gone_is_said_and_replaced(tiny: Path) -> None:
    mine = engine()
    mine.folder.rename(mine.folder.with_name(".gone"))
    prepared = make_plan(request(tiny), to_run=True)
    assert prepared.engine.name == "embedded"
    assert "The engine mine is missing" in engine_notice(prepared)
