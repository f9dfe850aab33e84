"""Why a program does not even start, in the system loader's own words. Pure.

Linux's ld.so, macOS's dyld and Windows say exactly what is missing, each in its own way; what is
missing decides what helps.
"""

import re
from dataclasses import dataclass
from typing import Final

from runner.base.errors import Refused
from runner.base.text import clean

_LONGEST = 300
BUILD: Final = "steprun engine build"
# What each library belongs to: the first pattern that matches its name counts.
LIBRARIES: Final = (
    (
        r"(lib)?(ggml|llama|mtmd)",
        "It is one of llama.cpp's own, which lie beside the engine: the folder or archive is not "
        "whole",
        f"Take the whole archive or folder, or build an engine here: {BUILD}",
    ),
    (
        r"libcuda\.so|nvcuda",
        "It is part of NVIDIA's driver",
        "Install the driver, then see: nvidia-smi",
    ),
    (
        r"(lib)?(cudart|cublas|cublasLt|nccl|nvrtc)",
        "It is part of NVIDIA's CUDA toolkit, of the version in its name",
        f"Install that version, or build an engine for the installed one: {BUILD}",
    ),
    (
        r"lib(amdhip64|hipblas|rocblas|hipblaslt|hsa-runtime64|rocsolver)|amdhip64",
        "It is part of AMD's ROCm, of the version in its name",
        f"Install that version of ROCm, or build an engine for the installed one: {BUILD}",
    ),
    (
        r"libvulkan|vulkan-1",
        "It is Vulkan's loader",
        "Install it (Debian and Ubuntu: sudo apt install libvulkan1; Fedora: sudo dnf install "
        "vulkan-loader)",
    ),
    (
        r"libgomp",
        "It is GCC's OpenMP",
        "Install it (Debian and Ubuntu: sudo apt install libgomp1; Fedora: sudo dnf install "
        "libgomp)",
    ),
    (
        r"VCRUNTIME|MSVCP|vcomp",
        "It is part of Microsoft's Visual C++ runtime",
        "winget install Microsoft.VCRedist.2015+.x64",
    ),
)


class DoesNotStart(Refused):
    """The system cannot start an engine."""


@dataclass(frozen=True, slots=True)
class LoaderFailure:
    """What a loader or a driver prints, and what it means."""

    pattern: str
    what: str
    why: str
    next: str


_ELSEWHERE = f"Build one here: {BUILD}"
# cuda's and ROCm's own words, ggml's (NO_DEVICE_CODE), and rocBLAS's.
NO_CODE: Final = LoaderFailure(
    r"(no kernel image is available|no device code compatible|invalid device function|"
    r"TensileLibrary.* for GPU arch)",
    "The engine holds no code for this graphics card.",
    "It was built for others.",
    _ELSEWHERE,
)
FAILURES: Final = (
    LoaderFailure(
        r"version [`'\"](?:GLIBC|GLIBCXX|CXXABI)_([\w.]+)['\"`] not found",
        "The engine was made on a newer Linux than this one.",
        "",
        _ELSEWHERE,
    ),
    LoaderFailure(
        r"(incompatible architecture|wrong ELF class|[Ee]xec format error|"
        r"cannot execute binary file|[Bb]ad CPU type|not a valid Win32 application|WinError 193)",
        "The engine is for another processor or system.",
        "",
        f"Take the one for this machine, or build one here: {BUILD}",
    ),
    LoaderFailure(
        r"(symbol lookup error|undefined symbol|[Ss]ymbol not found)",
        "The engine and its libraries do not belong together.",
        "Libraries of another build were found before its own.",
        f"Take the whole archive or folder into one of its own, unset LD_LIBRARY_PATH, or: {BUILD}",
    ),
    LoaderFailure(
        r"(required file not found|bad interpreter)",
        "The engine's loader is not on this system.",
        "It was made for another Linux (musl or glibc; NixOS keeps the loader elsewhere).",
        _ELSEWHERE,
    ),
    LoaderFailure(
        r"(CUDA driver version is insufficient|unsupported toolchain|"
        r"forward compatibility was attempted)",
        "NVIDIA's driver is too old for the engine.",
        "It was built with a newer CUDA than the driver knows.",
        f"Update the driver, or build an engine with the installed CUDA toolkit: {BUILD}",
    ),
    NO_CODE,
    LoaderFailure(
        r"(code signature .*(?:not valid|invalid)|library load disallowed by system policy)",
        "macOS does not let the engine load.",
        "A downloaded program is held in quarantine.",
        "xattr -dr com.apple.quarantine FOLDER (the engine's), if you trust its source",
    ),
    LoaderFailure(
        r"(ImportError: DLL load failed)",
        "A library (DLL) that the engine needs is missing.",
        "Windows does not say which: the driver's, CUDA's or Visual C++'s.",
        "Update the graphics driver, then: winget install Microsoft.VCRedist.2015+.x64",
    ),
    LoaderFailure(
        r"([Pp]ermission denied)",
        "The engine may not be run.",
        "Its file is not executable, or its disk is mounted without the right to run programs.",
        "chmod +x FILE, or copy it to another disk",
    ),
)
# Why an engine that starts lists no device; one that does not need the device starts all the same.
NO_DEVICE: Final = (
    LoaderFailure(
        r"(no CUDA-capable device is detected|CUDA_ERROR_NO_DEVICE)",
        "NVIDIA's driver shows it no card.",
        "The driver is not loaded, or the container was started without --gpus all.",
        "See what the driver says: nvidia-smi",
    ),
    LoaderFailure(
        r"(no ROCm-capable device is detected)",
        "AMD's driver shows it no card.",
        "This user may not open /dev/kfd and /dev/dri, or the container was started without them.",
        "sudo usermod -aG render,video $USER, then log in again",
    ),
)
# Which library: glibc, Python, musl, dyld, and what older dyld prints.
_MISSING: Final = re.compile(
    r"error while loading shared libraries: (?P<glibc>[^\s:]+): cannot open|"
    r"ImportError: (?P<python>[^\s:]+\.so[\d.]*): cannot open|"
    r"Error loading shared library (?P<musl>[^\s:]+):|"
    r"Library not loaded: (?P<dyld>\S+)"
)
# Of one of ggml's backends, which an engine can do without.
_BACKEND_MISSING: Final = re.compile(r"failed to load .*?(?P<name>[^\s/:]+\.so[\d.]*): cannot open")
# Windows tells by the exit status alone (winternl.h).
STATUSES: Final = {
    0xC0000135: (
        "A library (DLL) that the engine needs is missing.",
        "Take the whole archive: its DLLs lie beside the engine, CUDA's (cudart) in an archive of "
        "their own. Without Visual C++'s runtime: winget install Microsoft.VCRedist.2015+.x64",
    ),
    0xC0000139: (
        "A library (DLL) that the engine found is of another version.",
        f"Take the whole archive into a folder of its own, or build one here: {BUILD}",
    ),
    0xC000007B: (
        "The engine or one of its libraries is for another processor.",
        f"Take the one for this machine, or build one here: {BUILD}",
    ),
}
_ILLEGAL: Final = frozenset({-4, 132, 0xC000001D})  # SIGILL; STATUS_ILLEGAL_INSTRUCTION


def explain(status: int | None, output: str) -> DoesNotStart | None:
    """Return why a program did not start; None where neither status nor output tell.

    `status`: as Python or a guard reports it (negative or 128 + N for signal N), or a Windows
    status. `output`: the end of what it, or the system, printed.
    """
    output = clean(output)
    if missing := _MISSING.search(output):
        return _library(next(filter(None, missing.groups())), _line(output, missing.start()))
    for failure in FAILURES:
        if found := re.search(failure.pattern, output):
            line = _line(output, found.start())
            return DoesNotStart(
                failure.what, why=f"{failure.why} {line}".strip(), next=failure.next
            )
    if status is not None and status % (1 << 32) in STATUSES:
        what, help_ = STATUSES[status % (1 << 32)]
        line = f"Windows says 0x{status % (1 << 32):08X}."
        return DoesNotStart("The engine does not start.", why=f"{what} {line}", next=help_)
    if status in _ILLEGAL:
        return DoesNotStart(
            "The engine uses instructions that this processor lacks.",
            why="It was compiled for a newer one, or a virtual machine hides part of this one "
            "(illegal instruction).",
            next=_ELSEWHERE,
        )
    return None


def no_device(output: str) -> str:
    """Return why an engine that starts lists no device, and what helps, in sentences.

    `output`: of its --list-devices. Empty where it does not say.
    """
    output = clean(output)
    if missing := _BACKEND_MISSING.search(output):
        name = missing["name"]
        belongs, help_ = _known(name)
        return f"The library {name} was not found. {belongs}. {help_}."
    for failure in (*NO_DEVICE, *FAILURES):
        if re.search(failure.pattern, output):
            return f"{failure.what} {failure.why} {failure.next}."
    return ""


def no_code(output: str) -> DoesNotStart | None:
    """Return that an engine has no code for its card, which may show in its first answer only."""
    found = re.search(NO_CODE.pattern, output)
    if found is None:
        return None
    line = _line(output, found.start())
    return DoesNotStart(NO_CODE.what, why=f"{NO_CODE.why} {line}", next=NO_CODE.next)


def _known(name: str) -> tuple[str, str]:
    """Return what a library belongs to, and what helps where it is missing."""
    for pattern, belongs, help_ in LIBRARIES:
        if re.match(pattern, name, re.IGNORECASE):
            return belongs, help_
    return "No package of llama.cpp's has it", f"Install the package that has it, or: {BUILD}"


def _library(path: str, line: str) -> DoesNotStart:
    name = re.split(r"[/\\]", path)[-1]
    belongs, help_ = _known(name)
    return DoesNotStart(
        f"The engine does not start: it needs the library {name}, which was not found.",
        why=f"{belongs}. {line}",
        next=help_,
    )


def _line(text: str, at: int) -> str:
    """Return the line of a text around a place, with a full stop."""
    start = text.rfind("\n", 0, at) + 1
    line = text[start:].partition("\n")[0].strip()[:_LONGEST]
    return f"{line.rstrip('.')}."
