"""The exact command lines of a build for each kind of machine.

`python -m tests.unit.engine.test_configure` writes them anew.
"""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from runner.base.errors import BadFile
from runner.engine.builder import configure, recipe
from runner.engine.builder.configure import definitions, jobs
from runner.engine.builder.recipe_rows import Tools, chosen
from runner.machine.captures import presets
from runner.machine.captures.capture import Replay
from runner.machine.facts import Backend, Machine
from runner.machine.probe import detect

FOLDER = Path(__file__).parents[2] / "data" / "configure"
TOOLS = Tools(
    {
        "cmake": "/usr/bin/cmake",
        "C++ compiler": "/usr/bin/c++",
        "ninja": "/usr/bin/ninja",
        "nvcc": "/usr/local/cuda/bin/nvcc",
        "glslc": "/usr/bin/glslc",
        "hipconfig": "/opt/rocm/bin/hipconfig",
        "hipconfig -l": "/opt/rocm/lib/llvm/bin",
        "hipconfig -R": "/opt/rocm",
    }
)
CASES = [
    ("m4-max-128", Backend.METAL),
    ("m5-max-128", Backend.METAL),
    ("m4-max-128", Backend.CPU),
    ("dgx-spark", Backend.CUDA),
    ("thor", Backend.CUDA),
    ("gb300", Backend.CUDA),
    ("5090-128", Backend.CUDA),
    ("mixed-5090-pro6000", Backend.CUDA),
    ("strix-halo-linux", Backend.VULKAN),
    ("strix-halo-linux", Backend.ROCM),
    ("strix-halo-windows", Backend.VULKAN),
    ("r9700-4x", Backend.ROCM),
    ("cpu-128", Backend.CPU),
]


def machine(name: str, backend: Backend) -> Machine:
    return replace(detect(Replay(presets.load_preset(name))), backend=backend)


def shown(name: str, backend: Backend) -> str:
    here = machine(name, backend)
    tools = Tools({}) if here.os == "windows" else TOOLS
    tools = Tools({**tools.values, "cmake": TOOLS.values["cmake"]})
    made = configure.configure(recipe.load_recipe(backend), here, tools, Path("/src"), Path("/out"))
    env = [f"{name}={shlex.quote(value)}" for name, value in made.env]
    return "\n".join([*env, *made.configure, "", *made.build, ""])


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_the_command_lines_are_these(name: str, backend: Backend) -> None:
    assert shown(name, backend) == (FOLDER / f"{name}-{backend}.txt").read_text("utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {f"{n}-{b}" for n, b in CASES}


@pytest.mark.parametrize(
    ("name", "backend", "expected"),
    [
        # What StepFun's own instructions say for its three kinds of machine.
        (
            "m4-max-128",
            Backend.METAL,
            "GGML_METAL=ON GGML_METAL_EMBED_LIBRARY=ON GGML_BLAS=ON GGML_BLAS_VENDOR=Apple "
            "GGML_ACCELERATE=ON GGML_NATIVE=ON LLAMA_BUILD_SERVER=ON CMAKE_BUILD_TYPE=Release",
        ),
        (
            "dgx-spark",
            Backend.CUDA,
            "GGML_CUDA=ON GGML_CUDA_GRAPHS=ON GGML_CUDA_FORCE_MMQ=ON LLAMA_OPENSSL=OFF "
            "LLAMA_BUILD_COMMON=ON LLAMA_BUILD_TOOLS=ON LLAMA_BUILD_SERVER=ON "
            "LLAMA_BUILD_EXAMPLES=OFF LLAMA_BUILD_TESTS=OFF CMAKE_BUILD_TYPE=Release",
        ),
        (
            "strix-halo-windows",
            Backend.VULKAN,
            "GGML_VULKAN=ON GGML_NATIVE=ON LLAMA_BUILD_SERVER=ON LLAMA_BUILD_UI=OFF "
            "LLAMA_BUILD_TOOLS=ON CMAKE_BUILD_TYPE=Release",
        ),
    ],
)
def test_stepfuns_own_recipe_is_honoured(name: str, backend: Backend, expected: str) -> None:
    made = configure.configure(
        recipe.load_recipe(backend), machine(name, backend), TOOLS, Path("/s"), Path("/o")
    )
    assert {f"-D{word}" for word in expected.split()} <= set(made.configure)


@pytest.mark.parametrize(
    ("name", "backend", "expected"),
    [
        ("dgx-spark", Backend.CUDA, "CMAKE_CUDA_ARCHITECTURES=121a-real"),
        ("thor", Backend.CUDA, "CMAKE_CUDA_ARCHITECTURES=110"),
        ("gb300", Backend.CUDA, "CMAKE_CUDA_ARCHITECTURES=103"),
        ("orin-64", Backend.CUDA, "CMAKE_CUDA_ARCHITECTURES=native"),
        ("strix-halo-linux", Backend.ROCM, "GPU_TARGETS=gfx1151"),
        ("r9700-4x", Backend.ROCM, "GPU_TARGETS=gfx1201"),
    ],
)
def test_the_kernels_are_for_the_cards(name: str, backend: Backend, expected: str) -> None:
    assert f"-D{expected}" in definitions(recipe.load_recipe(backend), machine(name, backend))


def test_a_row_for_one_card_does_not_serve_a_mixture() -> None:
    both = machine("gb300", Backend.CUDA)
    other = machine("pro6000-128", Backend.CUDA).devices
    both = replace(both, devices=(*both.devices, *other))
    assert "-DCMAKE_CUDA_ARCHITECTURES=native" in definitions(
        recipe.load_recipe(Backend.CUDA), both
    )


def test_without_tools_their_rows_are_left_out() -> None:
    plain = definitions(recipe.load_recipe(Backend.CUDA), machine("5090-128", Backend.CUDA))
    assert not any("{" in word or "CUDA_COMPILER" in word for word in plain)
    assert not any(word.startswith("-DLLAMA") for word in plain)  # llama-cpp-python has its own


@pytest.mark.parametrize(
    ("cores", "free_mib", "expected"), [(20, 1 << 20, 20), (20, 9 * 2048, 9), (20, 100, 1)]
)
def test_compilers_are_no_more_than_fit(cores: int, free_mib: int, expected: int) -> None:
    here = replace(
        machine("dgx-spark", Backend.CUDA), cores=cores, available_bytes=free_mib * (1 << 20)
    )
    rules = recipe.load_recipe(Backend.CUDA)
    rules = replace(rules, build=structs.replace(rules.build, job_mib=2048))
    assert jobs(rules, here) == expected


def test_every_setting_says_why() -> None:
    for backend in Backend:
        rules = recipe.load_recipe(backend)
        for row in (*rules.build.define, *rules.build.environment, *rules.common.define):
            assert len(row.why) > 10, row


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('value = "ON"', 'valeu = "ON"'),
        ("[build]", '[build]\ncolour = "red"'),
        ("[run]", "[extra]\n[run]"),
        ('platform = "gb10"', 'platform = "gb11"'),
        ('devices = "Thor"', 'devices = "Thor("'),
        ('ask = ["--version"]\n', ""),
    ],
)
def test_a_misspelt_recipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    from runner.base.paths import shipped

    for name in ("cuda", "common"):
        text = (shipped("builds") / f"{name}.toml").read_text("utf-8")
        if name == "cuda":
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / f"{name}.toml").write_text(text, "utf-8")
    monkeypatch.setattr(recipe, "shipped", lambda _: tmp_path)
    with pytest.raises(BadFile):
        recipe.load_recipe(Backend.CUDA)


def test_conditions_need_a_device() -> None:
    rules = recipe.load_recipe(Backend.CUDA)
    bare = replace(machine("5090-128", Backend.CUDA), devices=())
    (row,) = (r for r in chosen(rules.build.define, bare) if r.name == "CMAKE_CUDA_ARCHITECTURES")
    assert row.value == "native"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, backend in CASES:
        (FOLDER / f"{name}-{backend}.txt").write_text(shown(name, backend), "utf-8")
