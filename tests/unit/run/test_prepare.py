"""From a request to files: what is missing is named with the command that downloads it."""

import shutil
from pathlib import Path

import pytest

from runner.base.errors import BadFile, Refused, UsageError
from runner.plan.launch import EngineFiles
from runner.plan.request import PlanRequest, Profile
from runner.run.download_missing import ensure_files
from runner.run.files import locate
from runner.run.prepare import launch_line, make_plan
from runner.run.request import ModelRequest
from runner.weights import cache_layout, model_headers
from tests.unit.run.frontend import quiet

MAC = "m4-max-128"


def test_missing_weights_are_named_with_the_command_that_downloads_them() -> None:
    """There is no terminal here on which to ask."""
    prepared = make_plan(ModelRequest("", PlanRequest()), MAC)
    with pytest.raises(Refused, match="IQ4_XS are not downloaded") as caught:
        ensure_files(prepared, quiet())
    assert caught.value.next == "steprun models pull IQ4_XS"
    assert "4 files, 101.48 GiB (109 GB) in all" in caught.value.why


def test_weights_in_the_hubs_cache_are_found_and_launched(tmp_path: Path) -> None:
    """Sparse files of the right length stand in for 105 GB; only names and sizes are looked at."""
    prepared = make_plan(ModelRequest("", PlanRequest()), MAC)
    for file in prepared.wanted():
        path = cache_layout.expected_path(file, prepared.plan.model_spec.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as sparse:
            sparse.truncate(file.bytes)
    argv = ensure_files(prepared, quiet()).spec.argv
    first = Path(argv[argv.index("--model") + 1])
    assert first.name == "Step-3.7-flash-IQ4_XS-00001-of-00003.gguf"
    assert first.exists()
    assert Path(argv[argv.index("--mmproj") + 1]).exists()
    assert ("llama-server", *argv) == launch_line(prepared, locate(prepared).files).argv
    first.write_bytes(b"cut short")
    with pytest.raises(Refused, match="not downloaded"):
        ensure_files(prepared, quiet())


def test_a_model_without_a_gguf_is_refused_with_the_reason() -> None:
    with pytest.raises(Refused, match="cannot be run") as caught:
        make_plan(ModelRequest("step-3.7-flash-240reap", PlanRequest()), MAC)
    assert "GGUF" in caught.value.why


def read(folder: Path, projector: Path | None = None, *, see: bool = True) -> EngineFiles:
    return model_headers.read_local(folder / "tiny-step.gguf", projector, None, see=see)[1]


def test_the_projector_beside_a_model_is_taken_if_it_fits(tiny: Path, tmp_path: Path) -> None:
    for name in ("tiny-step.gguf", "mmproj-tiny-step.gguf"):
        shutil.copy(tiny / name, tmp_path / name)
    assert read(tmp_path).projector == tmp_path / "mmproj-tiny-step.gguf"
    assert read(tmp_path, see=False).projector is None
    shutil.copy(tmp_path / "mmproj-tiny-step.gguf", tmp_path / "mmproj-two.gguf")
    assert read(tmp_path).projector is None, "two would be a guess"
    chosen = tmp_path / "mmproj-two.gguf"
    assert read(tmp_path, chosen).projector == chosen


def test_a_projector_of_another_model_is_not_taken(tiny: Path, smol: Path, tmp_path: Path) -> None:
    shutil.copy(tiny / "mmproj-tiny-step.gguf", tmp_path)
    (tmp_path / "smol.gguf").symlink_to(smol)
    model_spec, files = model_headers.read_local(tmp_path / "smol.gguf", None, None, see=True)
    assert (model_spec.projector_bytes, files.projector) == (0, None)
    with pytest.raises(BadFile, match="belongs to another model"):
        model_headers.read_local(
            tmp_path / "smol.gguf", tmp_path / "mmproj-tiny-step.gguf", None, see=True
        )


def test_parts_given_in_each_others_place_are_named(tiny: Path) -> None:
    model, sight = tiny / "tiny-step.gguf", tiny / "mmproj-tiny-step.gguf"
    with pytest.raises(BadFile, match="not what --projector needs"):
        model_headers.read_local(model, model, None, see=True)
    with pytest.raises(BadFile, match="not what --mtp needs"):
        model_headers.read_local(model, None, sight, see=True)
    with pytest.raises(BadFile, match="is not a model"):
        model_headers.read_local(sight, None, None, see=True)


def test_heads_inside_the_model_count_in_profile_fast_only(tiny: Path) -> None:
    request = ModelRequest(str(tiny / "tiny-step.gguf"), PlanRequest(profile=Profile.FAST))
    fast = make_plan(request).plan
    see = make_plan(ModelRequest(request.model, PlanRequest())).plan
    assert fast.config.mtp
    assert not see.config.mtp
    assert see.config.projector
    inside = {item.item: item.bytes for item in fast.items}
    assert inside["mtp"] > 0  # type: ignore[index]


@pytest.mark.parametrize("name", ["no-such-model", "step-3.7-flas"])
def test_an_unknown_name_is_wrong_usage_with_the_nearest(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        make_plan(ModelRequest(name, PlanRequest()), MAC)


def test_a_part_of_ones_own_goes_with_a_model_of_ones_own(tmp_path: Path) -> None:
    """Else it would be ignored without a word."""
    for request in (
        ModelRequest("", PlanRequest(), projector="mine.gguf"),
        ModelRequest("step-3.7-flash", PlanRequest(), mtp="heads.gguf"),
    ):
        with pytest.raises(UsageError, match="model of your own"):
            make_plan(request, MAC)


def test_a_card_that_cannot_help_leaves_the_processor(tmp_path: Path) -> None:
    from runner.machine.captures import capture

    small = tmp_path / "small.json"
    card = "NVIDIA GeForce RTX 3060, GPU-1, 6144, 6000, 8.6, 580"
    query = "nvidia-smi --query-gpu=name,uuid,memory.total,memory.free,compute_cap,driver_version"
    capture.save(
        capture.Capture(
            "linux-x86_64",
            {"/proc/meminfo": "MemTotal: 131000000 kB\nMemAvailable: 126000000 kB\n"},
            {f"{query} --format=csv,noheader,nounits": capture.Ran(0, card)},
        ),
        small,
    )
    # The whole cache of this context is larger than the card.
    ask = PlanRequest(context=262_144, kv_type="q8_0")
    plan = make_plan(ModelRequest("", ask), str(small)).plan
    assert plan.fits
    assert str(plan.machine.backend) == "cpu"
    assert any("CPU would do all" in warning for warning in plan.warnings)
