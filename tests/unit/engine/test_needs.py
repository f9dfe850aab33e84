"""What a build needs: found, too old, or missing, and the lines that install it."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from runner.base.errors import Exit, Refused
from runner.engine.builder import needs, recipe
from runner.engine.builder.needs import BuildHost, Missing, together
from runner.engine.builder.recipe_rows import Need, Tools
from runner.machine.captures import presets
from runner.machine.captures.capture import Replay
from runner.machine.facts import Backend, Machine
from runner.machine.probe import detect


class FakeHost(BuildHost):
    """A computer made up: its programs with what they print, and its files."""

    def __init__(self, system: str, programs: Mapping[str, str | None], files: str = "") -> None:
        self._system = system
        self._programs = programs
        self._files = files.split()

    def system(self, os_name: str) -> str:
        return self._system

    def programs(self, need: Need) -> Iterator[str]:
        names = [Path(path).name for path in self._programs]
        for path, name in zip(self._programs, names, strict=True):
            if name in need.programs:
                yield path

    def exists(self, pattern: str) -> bool:
        return pattern in self._files

    def answer(self, argv: Sequence[str]) -> str | None:
        program, *words = argv
        said = self._programs[program]
        return said if words in (["--version"], ["-p"]) else f"{'+'.join(words)} of {program}"


def machine(name: str, backend: Backend) -> Machine:
    return replace(detect(Replay(presets.load_preset(name))), backend=backend)


GCC = {"/usr/bin/c++": "c++ 13.2", "/usr/bin/ninja": "1.11"}
CMAKE = {"/usr/bin/cmake": "cmake version 3.28.3"}
NVCC = "Cuda compilation tools, release {}, V{}.88"
CUBLAS = "/usr/local/cuda/include/cublas_v2.h"
GB10 = machine("dgx-spark", Backend.CUDA)
STRIX = machine("strix-halo-linux", Backend.VULKAN)


def missing(host: BuildHost, here: Machine) -> list[Missing]:
    return needs.look(recipe.load_recipe(here.backend), here, host)[1]


def test_all_is_there() -> None:
    nvcc = {"/usr/local/cuda/bin/nvcc": NVCC.format("13.0", "13.0")}
    host = FakeHost("debian", GCC | CMAKE | nvcc, CUBLAS)
    tools = needs.find_tools(recipe.load_recipe(Backend.CUDA), GB10, host)
    assert tools.fill("{nvcc}") == "/usr/local/cuda/bin/nvcc"
    assert tools.fill("{nvcc/../..}/lib") == "/usr/local/cuda/lib"
    assert tools.versions["C++ compiler"] == "c++ 13.2"


def test_everything_missing_is_said_at_once() -> None:
    with pytest.raises(Refused) as caught:
        needs.find_tools(recipe.load_recipe(Backend.VULKAN), STRIX, FakeHost("debian", {}))
    error = caught.value
    assert error.exit_code == Exit.REFUSED
    for name in (
        "cmake 3.19 or newer",
        "glslc",
        "Vulkan's headers",
        "SPIRV-Headers",
        "C++",
        "ninja",
    ):
        assert name in error.why
    assert error.next == (
        "sudo apt install cmake glslc libvulkan-dev spirv-headers g++ ninja-build"
    )


@pytest.mark.parametrize(
    ("system", "line"),
    [
        ("fedora", "sudo dnf install glslc vulkan-headers vulkan-loader-devel spirv-headers-devel"),
        ("arch", "sudo pacman -S shaderc vulkan-headers vulkan-icd-loader spirv-headers"),
        ("", "Install the Vulkan SDK: https://vulkan.lunarg.com"),
    ],
)
def test_each_system_has_its_line(system: str, line: str) -> None:
    found = missing(FakeHost(system, GCC | CMAKE), STRIX)
    assert together(each.install for each in found) == [line]


def test_windows_needs_visual_studio_and_the_sdk() -> None:
    here = machine("strix-halo-windows", Backend.VULKAN)
    found = missing(FakeHost("windows", CMAKE), here)
    assert [each.name for each in found] == [
        "glslc",
        "Vulkan's headers",
        "Vulkan's loader",
        "SPIRV-Headers",
        "C++ compiler",
    ]
    lines = together(each.install for each in found)
    assert lines[0] == "winget install KhronosGroup.VulkanSDK"
    assert lines[1].startswith("winget install Microsoft.VisualStudio.2022.BuildTools --override")
    assert len(lines) == 2


def test_a_mac_needs_apples_tools() -> None:
    here = machine("m4-max-128", Backend.METAL)
    (one,) = missing(
        # The program is always there; without the tools it fails.
        FakeHost("macos", GCC | CMAKE | {"/usr/bin/xcode-select": None}),
        here,
    )
    assert one.install == "xcode-select --install"


@pytest.mark.parametrize(
    ("name", "version", "asked"),
    [
        ("dgx-spark", "12.8", "nvcc 12.9 or newer"),
        ("thor", "12.9", "nvcc 13.0 or newer"),
        ("gb300", "12.8", "nvcc 12.9 or newer"),
        ("5090-128", "12.6", "nvcc 12.8 or newer"),
    ],
)
def test_a_cuda_too_old_for_the_card_is_named(name: str, version: str, asked: str) -> None:
    nvcc = {"/usr/local/cuda/bin/nvcc": NVCC.format(version, version)}
    (one,) = missing(FakeHost("debian", GCC | CMAKE | nvcc, CUBLAS), machine(name, Backend.CUDA))
    assert one.name == asked
    assert one.found == f"{version}, /usr/local/cuda/bin/nvcc"
    assert "cuda-downloads" in one.install


def test_a_discrete_card_is_content_with_12_8() -> None:
    nvcc = {"/usr/local/cuda/bin/nvcc": NVCC.format("12.8", "12.8")}
    assert not missing(
        FakeHost("debian", GCC | CMAKE | nvcc, CUBLAS), machine("5090-128", Backend.CUDA)
    )


def test_the_first_that_is_new_enough_is_taken() -> None:
    old = {"/usr/bin/cmake": "cmake version 3.9.1", "/usr/bin/nvcc": NVCC.format("12.0", "12.0")}
    new = {
        "/home/me/venv/bin/cmake": "cmake version 4.1.0",
        "/usr/local/cuda/bin/nvcc": NVCC.format("13.0", "13.0"),
    }
    tools = needs.find_tools(
        recipe.load_recipe(Backend.CUDA), GB10, FakeHost("", GCC | old | new, CUBLAS)
    )
    assert tools.values["cmake"] == "/home/me/venv/bin/cmake"
    assert tools.values["nvcc"] == "/usr/local/cuda/bin/nvcc"


def test_an_old_cmake_is_named_and_pip_brings_a_new_one() -> None:
    (one,) = missing(FakeHost("debian", GCC | {"/usr/bin/cmake": "cmake version 3.9.1"}), CPU)
    assert str(one) == ("cmake 3.15 or newer (it directs the build; found 3.9.1, /usr/bin/cmake)")
    # The system's own packages have what is here.
    assert one.install == "python -m pip install cmake"


CPU = machine("cpu-128", Backend.CPU)


def test_what_tells_no_version_is_not_believed() -> None:
    (one,) = missing(FakeHost("debian", GCC | {"/usr/bin/cmake": "hello"}), CPU)
    assert "unknown version" in one.found


def test_rocm_is_asked_where_its_compiler_is() -> None:
    files = "/opt/rocm*/lib/cmake/hipblas /opt/rocm*/lib/cmake/rocblas"
    rocm = {"/opt/rocm/bin/hipconfig": "6.4.43482-0f2d60242"}
    here = machine("strix-halo-linux", Backend.ROCM)
    tools = needs.find_tools(
        recipe.load_recipe(Backend.ROCM), here, FakeHost("", GCC | CMAKE | rocm, files)
    )
    assert tools.fill("{hipconfig -l}/clang") == "-l of /opt/rocm/bin/hipconfig/clang"
    assert tools.fill("{hipconfig -R}") == "-R of /opt/rocm/bin/hipconfig"
    assert tools.fill("{something else}") is None


def test_a_backend_is_not_built_where_it_cannot_be() -> None:
    with pytest.raises(Refused, match="cannot be built on macos"):
        needs.find_tools(
            recipe.load_recipe(Backend.CUDA), machine("m4-max-128", Backend.CUDA), FakeHost("", {})
        )


# --- this computer


def need(**changed: object) -> Need:
    plain = Need(name="tool", why="it is needed", programs=("tool",), ask=("--version",))
    return structs.replace(plain, **changed)


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name != "posix", reason="scripts with #!")
def test_programs_are_looked_for_on_path_beside_python_and_in_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = script(tmp_path / "path" / "tool", "print('tool 1')")
    last = script(tmp_path / "cuda-13.0" / "bin" / "tool", "print('tool 2')")
    named = script(tmp_path / "named" / "clang", "print('clang')")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("BASE", str(tmp_path))
    monkeypatch.setenv("CXX", named)
    monkeypatch.delenv("NOWHERE", raising=False)
    looked = need(programs=("$CXX", "tool"), places=("$BASE/cuda-*/bin", "$NOWHERE/bin"))
    assert list(BuildHost().programs(looked)) == [named, first, last]
    assert BuildHost().answer((first, "--version")) == "tool 1"


def test_files_are_found_by_variables_and_patterns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sdk" / "include").mkdir(parents=True)
    (tmp_path / "sdk" / "include" / "vulkan.h").touch()
    monkeypatch.setenv("CPATH", os.pathsep.join(["/nowhere", str(tmp_path / "sdk" / "include")]))
    monkeypatch.setenv("Program(x86)", str(tmp_path))
    assert BuildHost().exists("$CPATH/vulkan.h")
    assert BuildHost().exists("${Program(x86)}/*/include/vulkan.h")
    assert not BuildHost().exists("$CPATH/other.h")
    assert not BuildHost().exists("$NOT_SET/vulkan.h")


@pytest.mark.skipif(os.name != "posix", reason="scripts with #!")
@pytest.mark.parametrize("text", ["raise SystemExit(1)", "import time; time.sleep(60)"])
def test_a_program_that_fails_or_hangs_has_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(needs, "ANSWER_S", 1.0)
    assert BuildHost().answer((script(tmp_path / "tool", text),)) is None


def test_this_linux_is_one_of_those_with_lines_or_none() -> None:
    assert BuildHost().system("windows") == "windows"
    assert BuildHost().system("linux") in {"", *needs.SYSTEMS.values()}


def test_an_empty_box_fills_nothing() -> None:
    assert Tools().fill("{nvcc}") is None
    assert Tools().fill("plain") == "plain"
