"""The embedded engine's flags, as xllamacpp's parameters take them."""

from pathlib import Path

import pytest
import xllamacpp

from runner.engine.process.embedded import apply
from runner.engine.process.flags import FLAGS
from runner.plan.launch import EngineFiles, Settings, launch


def applied(*argv: str) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    apply(params, argv)
    return params


def test_a_model_is_split_over_cards() -> None:
    params = applied("--split-mode", "layer", "--tensor-split", "23,22")
    assert params.split_mode == xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_LAYER
    assert params.tensor_split == [23.0, 22.0] + [0.0] * 126


def test_experts_stay_in_main_memory_as_in_llama_server() -> None:
    found = applied("--n-cpu-moe", "2").tensor_buft_overrides
    experts = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"
    assert found == rf"blk\.0{experts},blk\.1{experts}"
    assert applied("--no-mmproj-offload").mmproj_use_gpu is False


@pytest.mark.parametrize(
    ("flag", "given"),
    [
        ("--tensor-split", "a,b"),
        ("--tensor-split", ",".join("1" * 129)),
        ("--n-cpu-moe", "all"),
        ("--split-mode", "diagonal"),
        ("--spec-draft-device", "CUDA7"),
        ("--port", "x"),
        ("--api-key-file", "/does/not/exist"),
    ],
)
def test_a_wrong_value_is_named(flag: str, given: str) -> None:
    with pytest.raises(ValueError, match=f"{flag} cannot be"):
        applied(flag, given)


def test_only_the_choice_of_cards_by_name_is_missing() -> None:
    settings = Settings(4096, layers=(23, 22), n_cpu_moe=3, mmproj_on_cpu=True, devices=("a", "b"))
    files = EngineFiles(Path("m.gguf"), Path("p.gguf"))
    assert launch(files, settings, frozenset(FLAGS)).lost == ("--device",)
