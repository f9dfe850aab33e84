"""The loader's own words: what is missing decides what helps."""

import pytest

from runner.base.errors import Exit
from runner.engine.process import loader
from runner.engine.process.diagnose import diagnose

SO = "cannot open shared object file: No such file or directory"
LINUX = "llama-server: error while loading shared libraries: {}: " + SO
DYLD = """dyld[712]: Library not loaded: @rpath/libggml.dylib
  Referenced from: <5A1B> /Users/x/llama-server
  Reason: tried: '/usr/lib/libggml.dylib' (no such file)"""
CASES = {
    "own library": (127, LINUX.format("libggml.so"), "libggml.so", "whole archive"),
    "the toolkit": (127, LINUX.format("libcudart.so.13"), "libcudart.so.13", "that version"),
    "the driver": (127, LINUX.format("libcuda.so.1"), "libcuda.so.1", "driver"),
    "rocm": (127, LINUX.format("libamdhip64.so.7"), "libamdhip64.so.7", "ROCm"),
    "openmp": (127, LINUX.format("libgomp.so.1"), "libgomp.so.1", "libgomp1"),
    "any other": (127, LINUX.format("libtcmalloc.so.4"), "libtcmalloc.so.4", "package that has it"),
    "musl": (
        127,
        "Error loading shared library libstdc++.so.6: No such file",
        "libstdc++.so.6",
        "",
    ),
    "macOS": (134, DYLD, "Library not loaded: @rpath/libggml.dylib", "whole archive"),
    "glibc": (
        1,
        "./llama-server: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found "
        "(required by ./llama-server)",
        "GLIBC_2.38",
        "engine build",
    ),
    "libstdc++": (
        1,
        "/lib64/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by x)",
        "GLIBCXX_3.4.32",
        "engine build",
    ),
    "old driver": (
        1,
        "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA "
        "runtime version",
        "too old",
        "Update the driver",
    ),
    "another card": (1, "CUDA error: no kernel image is available for execution", "no code", ""),
    "another card, in ggml's words": (
        1,
        "ERROR: CUDA kernel mul_mat_q has no device code compatible with CUDA arch 1210.",
        "no code",
        "",
    ),
    "another card, in rocBLAS's": (
        134,
        "rocBLAS error: Cannot read /opt/rocm/lib/TensileLibrary.dat: No such file for GPU arch : "
        "gfx1103",
        "no code",
        "",
    ),
    "python": (1, f"ImportError: libamdhip64.so.7: {SO}", "libamdhip64.so.7", "ROCm"),
    "python, windows": (1, "ImportError: DLL load failed while importing xllamacpp", "DLL", ""),
    "another processor": (127, "cannot start x: [Errno 8] Exec format error: 'x'", "processor", ""),
    "no loader": (
        127,
        "bash: ./llama-server: cannot execute: required file not found",
        "loader",
        "",
    ),
    "mixed": (127, "x: symbol lookup error: x: undefined symbol: ggml_foo", "ggml_foo", "whole"),
    "windows": (0xC0000135, "", "0xC0000135", "DLLs"),
    "windows, as Python has it": (0xC0000135 - (1 << 32), "", "0xC0000135", "DLLs"),
    "windows, 32 bit": (0xC000007B, "", "another processor", ""),
    "a newer processor": (-4, "", "illegal instruction", "engine build"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_loader_says_is_shown(case):
    status, output, says, helps = CASES[case]
    for found in (
        loader.explain(status, output),
        diagnose(status, f"some line\n{output}", "/x.log", ready=False),
    ):
        assert found is not None
        assert says in str(found)
        assert helps in found.next
        assert found.exit_code is Exit.REFUSED
        assert found.why.endswith(".")


@pytest.mark.parametrize("status", [0, 1, 127, 134, None])
def test_other_ends_are_not_the_loaders(status):
    assert loader.explain(status, "error: failed to load model 'x'") is None


def test_an_engine_that_has_answered_was_loaded():
    died = diagnose(132, LINUX.format("libggml.so"), "/x.log", ready=True)
    assert "while it was answering" in died.what


def test_a_card_that_it_has_no_code_for_may_show_late():
    died = diagnose(134, "x\nCUDA error: no kernel image is available", "/x.log", ready=True)
    assert "no code for this graphics card" in died.what


NO_DEVICE = {
    "an old driver": (
        "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA "
        "runtime version",
        "Update the driver",
    ),
    "a container": (
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
        "--gpus all",
    ),
    "a user without rights": (
        "ggml_cuda_init: failed to initialize ROCm: no ROCm-capable device is detected",
        "usermod -aG render,video",
    ),
    "no ROCm": (
        f"load_backend: failed to load /opt/x/libggml-hip.so: libhipblas.so.3: {SO}",
        "libhipblas.so.3 was not found",
    ),
    "no Vulkan": (
        f"load_backend: failed to load /opt/x y/libggml-vulkan.so: libvulkan.so.1: {SO}",
        "sudo apt install libvulkan1",
    ),
    "its own output says nothing": ("Available devices:", ""),
}


@pytest.mark.parametrize("case", NO_DEVICE)
def test_why_an_engine_lists_no_device(case):
    output, says = NO_DEVICE[case]
    found = loader.no_device(f"Available devices:\n{output}\n  (none)")
    assert says in found
    assert not says or found.endswith(".")
