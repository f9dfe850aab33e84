"""Why a build failed, from the end of its log. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from runner.base.errors import SteprunError
from runner.base.text import clean

_LONGEST = 300

# What compilers, linkers, make tools and cmake begin a complaint with.
_ERROR = re.compile(
    r"\berror(?: [A-Z]+\d+)?:|^CMake Error|fatal\s*:|undefined reference|cannot find -l|"
    r"unresolved external|Undefined symbols",
    re.IGNORECASE,
)
# True but useless: they only report that something before them failed.
_ECHO = re.compile(
    r"ld returned \d+ exit status|linker command failed|ninja: build stopped|"
    r"subcommand failed|Configuring incomplete",
)


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """A pattern in a build's log, what is likely behind it, and what to do."""

    pattern: str
    why: str
    next: str


# The first whose pattern is in the log counts, so causes stand before their consequences.
CAUSES: Final = (
    BuildFailure(
        r"No space left on device|Disk quota exceeded|error C1085",
        "The disk is full.",
        "Free some space, or set STEPRUN_HOME to a folder on another disk.",
    ),
    BuildFailure(
        r"Killed signal terminated program|\bKilled(?:\s*$|  )|out of memory allocating|"
        r"virtual memory exhausted|Cannot allocate memory|error C1060",
        "The system ended a compiler, most likely because memory ran out.",
        "Close other programs and try again: the build resumes, with as many compilers as the free "
        "memory allows.",
    ),
    BuildFailure(
        r"Unsupported gpu architecture|CUDA_ARCHITECTURES .*not supported",
        "This CUDA toolkit is too old for the card, or too new.",
        "Install another: https://developer.nvidia.com/cuda-downloads",
    ),
    BuildFailure(
        r"set to \"native\", but no GPU was detected",
        "No NVIDIA card responds, so the architecture to build for is unknown.",
        "Check that nvidia-smi lists it: steprun doctor",
    ),
    BuildFailure(
        r"unsupported GNU version|unsupported clang version|unsupported Microsoft Visual Studio",
        "The C++ compiler is newer than this CUDA toolkit supports.",
        "Install a newer CUDA toolkit, or name an older compiler: CXX=g++-13 CUDAHOSTCXX=g++-13",
    ),
    BuildFailure(
        r"^ +CUDA::\w+$|CUDA Toolkit not found|Could NOT find CUDAToolkit|"
        r"Failed to find nvcc|No CMAKE_CUDA_COMPILER|error: cublas_v2\.h",
        "The CUDA toolkit is missing or incomplete.",
        "Install it: https://developer.nvidia.com/cuda-downloads",
    ),
    BuildFailure(
        r"Could NOT find Vulkan|glslc: (command )?not found|error: vulkan/\S+",
        "Vulkan's headers, loader or shader compiler are missing.",
        "On Debian and Ubuntu: sudo apt install glslc libvulkan-dev spirv-headers",
    ),
    BuildFailure(
        r"provided by \"SPIRV-Headers\"|error: spirv/\S+",
        "The SPIRV headers are missing.",
        "On Debian and Ubuntu: sudo apt install spirv-headers",
    ),
    BuildFailure(
        r"By not providing \"Find(hip|hipblas|rocblas)\.cmake\"|"
        r"provided by \"(hip|hipblas|rocblas)\"|ROCM/HIP V[0-9.]+ is required",
        "ROCm is missing or incomplete.",
        "Install it: https://rocm.docs.amd.com",
    ),
    BuildFailure(
        r"or higher is required\.\s+You are running version",
        "cmake is too old for this llama.cpp.",
        "python -m pip install cmake",
    ),
    BuildFailure(
        r"unable to find a build program",
        "ninja or make is missing.",
        "python -m pip install ninja",
    ),
    BuildFailure(
        r"Could not find compiler set in environment|No CMAKE_C(XX)?_COMPILER could be found|"
        r"C(XX)?_COMPILER not set|is not able to compile a simple test program|"
        r"xcrun: error: invalid active developer path",
        "No C++ compiler works.",
        "Install one, and see what is missing: steprun engine build --dry-run",
    ),
    BuildFailure(
        r"internal compiler error|PLEASE submit a bug report|fatal error C1001",
        "The compiler itself crashed: too little memory, or a bug in it.",
        "Try again; if it crashes at the same place, use another compiler: CXX=clang++",
    ),
    BuildFailure(
        r"fatal error: \S+: No such file or directory|fatal error: '\S+' file not found|"
        r"error C1083",
        "A header is missing: install the package that has it, or the source is damaged.",
        "Download the source again, or use another: --source xllamacpp",
    ),
    BuildFailure(
        r"file truncated|file format not recognized|malformed archive",
        "A file of an earlier, interrupted build is damaged.",
        "Try again: it will be built again.",
    ),
)
UNKNOWN: Final = BuildFailure("", "", "Try again, or use another source: --source xllamacpp")


def cause(tail: str) -> BuildFailure:
    """Return the likely cause of a failure; `UNKNOWN` where the log has no sign of a known one."""
    for each in CAUSES:
        if re.search(each.pattern, tail, re.MULTILINE):
            return each
    return UNKNOWN


def last_error(tail: str) -> str:
    """Return the line that says best what went wrong: the cause's own, else the last complaint."""
    lines = [line for line in clean(tail).splitlines() if line.strip()]
    pattern = cause(tail).pattern
    if pattern:
        named = [line for line in lines if re.search(pattern, line)]
        if named:
            return named[0].strip()[:_LONGEST]
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if _ERROR.search(line) and not _ECHO.search(line):
            # cmake says where on one line, and what on those after it.
            more = lines[number + 1].strip() if line.startswith("CMake Error") else ""
            return f"{line.strip()} {more}".strip()[:_LONGEST]
    return lines[-1].strip()[:_LONGEST] if lines else "The log is empty."


def explain(what: str, tail: str, log: str) -> SteprunError:
    """Return the error of a failed build. `what` failed; `log`: where the rest can be read."""
    likely = cause(tail)
    return SteprunError(
        what,
        why=f"{likely.why} {last_error(tail)}".strip(),
        next=f"{likely.next} (log: {log})",
    )
