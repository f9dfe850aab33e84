"""Why builds fail. The texts are what real compilers, linkers and cmakes printed."""

import pytest

from runner.engine.builder.failure_causes import CAUSES, UNKNOWN, cause, explain, last_error

NINJA_END = "ninja: build stopped: subcommand failed.\n"
FULL = """\
x.s: Fatal error: can't write 11 bytes to section .text of x.o: 'No space left on device'
"""
KILLED = """\
[7/30] Building CXX object CMakeFiles/parts.dir/part7.cpp.o
FAILED: CMakeFiles/parts.dir/part7.cpp.o
c++: fatal error: Killed signal terminated program cc1plus
compilation terminated.
"""
ARCHITECTURE = "nvcc fatal   : Unsupported gpu architecture 'sm_121a'\n"
NO_CARD = """\
-- Including CUDA backend
CMake Error in ggml/src/ggml-cuda/CMakeLists.txt:
  CUDA_ARCHITECTURES is set to "native", but no GPU was detected.


-- Generating done
CMake Generate step failed.  Build files cannot be regenerated correctly.
"""
CUBLAS = """\
CMake Error at ggml/src/ggml-cuda/CMakeLists.txt:178 (target_link_libraries):
  Target "ggml-cuda" links to:

    CUDA::cublas

  but the target was not found.  Possible reasons include:
"""
HEADER = """\
h.cpp:1:10: fatal error: vulkan/vulkan.h: No such file or directory
    1 | #include <vulkan/vulkan.h>
      |          ^~~~~~~~~~~~~~~~~
compilation terminated.
"""
OTHER_HEADER = HEADER.replace("vulkan/vulkan.h", "nlohmann/json.hpp")
GLSLC = """\
CMake Error at /usr/share/cmake-3.25/Modules/FindPackageHandleStandardArgs.cmake:230 (message):
  Could NOT find Vulkan (missing: Vulkan_LIBRARY Vulkan_INCLUDE_DIR glslc)
  (found version "")
Call Stack (most recent call first):
"""
SPIRV = """\
CMake Error at CMakeLists.txt:3 (find_package):
  Could not find a package configuration file provided by "SPIRV-Headers"
  with any of the following names:
"""
OLD_CMAKE = """\
CMake Error at CMakeLists.txt:1 (cmake_minimum_required):
  CMake 9.9 or higher is required.  You are running version 3.25.1


-- Configuring incomplete, errors occurred!
"""
NO_COMPILER = """\
CMake Error at /usr/share/cmake-3.25/Modules/CMakeDetermineCXXCompiler.cmake:48 (message):
  Could not find compiler set in environment variable CXX:

  /nowhere.
"""
NO_NINJA = (
    'CMake Error: CMake was unable to find a build program corresponding to "Ninja".  '
    "CMAKE_MAKE_PROGRAM is not set.\n"
    "CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage\n"
)
BROKEN_COMPILER = """\
g++: internal compiler error: Segmentation fault signal terminated program cc1plus
Please submit a full bug report, with preprocessed source (by using -freport-bug).
"""
SYNTAX = """\
e.cpp: In function 'int main()':
e.cpp:1:20: error: 'x' was not declared in this scope
    1 | int main(){ return x }
      |                    ^
"""
LINKER = """\
/usr/bin/ld: /tmp/ccy57v4t.o: in function `main':
u.cpp:(.text+0x5): undefined reference to `f()'
collect2: error: ld returned 1 exit status
"""
CMAKE = """\
CMake Error at CMakeLists.txt:7 (message):
  This tree is of another kind


-- Configuring incomplete, errors occurred!
"""


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        (FULL, "The disk is full.", "No space left on device"),
        (KILLED, "memory ran out", "Killed signal terminated program cc1plus"),
        (ARCHITECTURE, "too old for the card", "Unsupported gpu architecture 'sm_121a'"),
        (NO_CARD, "No NVIDIA card responds", "no GPU was detected"),
        (CUBLAS, "CUDA toolkit is missing", "CUDA::cublas"),
        (HEADER, "Vulkan's headers", "fatal error: vulkan/vulkan.h"),
        (OTHER_HEADER, "A header is missing", "fatal error: nlohmann/json.hpp"),
        (GLSLC, "shader compiler", "Could NOT find Vulkan"),
        (SPIRV, "SPIRV headers", 'provided by "SPIRV-Headers"'),
        (OLD_CMAKE, "cmake is too old", "CMake 9.9 or higher is required.  You are running"),
        (NO_COMPILER, "No C++ compiler", "Could not find compiler set in environment"),
        (BROKEN_COMPILER, "The compiler itself crashed", "internal compiler error"),
        (SYNTAX, "", "e.cpp:1:20: error: 'x' was not declared in this scope"),
        (LINKER, "", "undefined reference to `f()'"),
        (CMAKE, "", "CMakeLists.txt:7 (message): This tree is of another kind"),
    ],
)
def test_the_cause_and_its_line_are_found(text: str, why: str, line: str) -> None:
    # Other compilers were at work meanwhile.
    log = f"[6/30] Building CXX object a.o\n{text}[8/30] Building CXX object b.o\n{NINJA_END}"
    assert why in cause(log).why
    assert line in last_error(log)
    error = explain("It does not compile.", log, "/logs/build.log")
    assert line in error.why
    assert "/logs/build.log" in error.next
    assert len(str(error)) < 700


def test_a_missing_ninja_is_not_taken_for_a_missing_compiler() -> None:
    assert "pip install ninja" in cause(NO_NINJA).next


@pytest.mark.parametrize(
    "log",
    [
        "",
        "-- Found CUDAToolkit: /usr/local/cuda/include (found version 13.0.88)\n",
        "[3/9] Building CXX object ggml/src/ggml-vulkan/vulkan-shaders.spv/error.comp.cpp.o\n",
        "-- Found Vulkan: /usr/lib/libvulkan.so (found version 1.3) found components: glslc\n",
    ],
)
def test_what_goes_well_is_no_cause(log: str) -> None:
    assert cause(log) is UNKNOWN
    assert last_error(log)


def test_a_log_without_an_error_gives_its_last_words() -> None:
    assert last_error("one\ntwo\n\n") == "two"
    assert last_error("") == "The log is empty."


def test_a_hostile_log_is_cut_and_cleaned() -> None:
    line = last_error("x.cpp:1: error: \x1b[31m" + "long " * 10_000)
    assert len(line) <= 300
    assert "\x1b" not in line


def test_every_cause_says_what_to_do() -> None:
    assert all(each.why.endswith(".") and each.next for each in CAUSES)
