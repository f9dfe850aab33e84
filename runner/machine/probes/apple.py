"""Macs with Apple Silicon: one memory, of which Metal may wire a part.

That part is Metal's recommendedMaxWorkingSetSize. Only Metal itself tells it, so here it is
taken from `iogpu.wired_limit_mb` where that is set (Metal follows it both ways, llmfit PR 754),
and else from sizes that were measured. The engine's own device list has the last word.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from runner.base.units import GIB, MIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import Advice, Backend, Device, Machine, Platform, Purpose
from runner.machine.probes.host import HostFacts, Notes
from runner.machine.probes.read import (
    MOST_DEVICE_BYTES,
    count,
    document,
    parse_size,
    rows,
    stdout_of,
    strip_codes,
    text_of,
)

_OLD, _NEW = 0, 26  # macOS 26 raised the share of large Macs; nothing between was measured


@dataclass(frozen=True, slots=True)
class _Point:
    """A measured default: RAM in GiB, the working set in bytes, the macOS versions it holds for."""

    ram_gib: int
    working_set_bytes: int
    first_macos: int
    last_macos: int
    source: str


# ggml prints decimal MB since late 2023, and 2^20 before.
_POINTS = (
    _Point(8, 5_726_633_984, _OLD, 99, "M1, macOS 26.3.2, public record"),
    _Point(32, 21_845 * MIB, _OLD, 99, "M2 Max, llama.cpp 3213"),
    _Point(48, 40_200_896_512, _NEW, 99, "M5 Max, llama.cpp PR 16634; M4 Pro, public record"),
    _Point(96, 73_728 * MIB, _OLD, 99, "M2 Max, older macOS, llama.cpp 3213"),
    _Point(128, 103_079_215_104, _OLD, _NEW - 1, "M3 Max and M4 Max before macOS 26, public logs"),
    _Point(128, 115_448_730_000, _NEW, 99, "M4 Max and M5 Max, macOS 26, ds4 890, 893 and 909"),
    _Point(512, 498_216_210_000, _NEW, 99, "M3 Ultra, jan 6961"),
)

# Metal fails mid-prefill, not at load, when an engine comes too near its working set: 2 GiB below
# is the margin that ds4 909 settled on.
_RESERVE_BYTES = 2 * GIB
# 114688 MiB is measured on 128 GB (112.00 GiB, ds4 890) and leaves macOS 16 GiB; 116736 leaves 14
# and is in use; beyond 13 GiB below the total kernel panics are on record (mlx 3186).
_ADVISED_REST_BYTES = (16 * GIB, 14 * GIB)
_LEAST_REST_BYTES = 13 * GIB
# A smaller Mac cannot hold the smallest quant either way, a larger one holds the largest untouched.
_ADVISED_RAM_BYTES = range(96 * GIB, 128 * GIB + 1)


def probe(reader: Reader, host: HostFacts, notes: Notes) -> Machine | None:
    """Return the Mac, or None for anything else (a Mac with an Intel processor included)."""
    if host.os != "macos" or host.arch != "arm64":
        return None
    name = host.cpu or "Apple Silicon"
    wired = parse_size(stdout_of(reader, "sysctl", "-n", "iogpu.wired_limit_mb"), MIB)
    limit, source = _working_set(host.memory_bytes, wired, _macos_version(reader, notes))
    cores = _gpu_cores(reader)
    if cores is None:
        notes.unknown.append("GPU cores")
    most = _most_wired(host.memory_bytes)
    if wired and host.memory_bytes and wired > most:
        notes.warnings.append(
            f"iogpu.wired_limit_mb leaves macOS {size(max(0, host.memory_bytes - wired))}; "
            f"below {size(host.memory_bytes - most)} it may panic under load."
        )
        notes.advice.append(
            Advice(
                "Give macOS its memory back",
                f"sudo sysctl iogpu.wired_limit_mb={most // MIB}",
                f"sudo sysctl iogpu.wired_limit_mb={wired // MIB}",
                limit,
                purpose=Purpose.HEALTH,
            )
        )
    if strip_codes(stdout_of(reader, "sysctl", "-n", "sysctl.proc_translated")) == "1":
        notes.warnings.append("This Python is for Intel and runs under Rosetta: use one for arm64.")
    notes.advice.extend(_advice(host.memory_bytes, limit, wired))
    return replace(
        host.machine(),
        platform=Platform.APPLE,
        name=name,
        unified=True,
        backend=Backend.METAL,
        limit_bytes=limit,
        limit_source=source,
        reserve_bytes=min(_RESERVE_BYTES, limit or _RESERVE_BYTES),
        reserve_why="Metal fails during prefill when its working set is used up",
        devices=(Device(name, Backend.METAL, limit, cores=cores),),
        ceiling_bytes=host.memory_bytes or MOST_DEVICE_BYTES,
    )


def _macos_version(reader: Reader, notes: Notes) -> int:
    text = strip_codes(stdout_of(reader, "sysctl", "-n", "kern.osproductversion"))
    text = text or strip_codes(stdout_of(reader, "sw_vers", "-productVersion"))
    version = count(text.partition(".")[0], 98)
    if version is None:
        notes.unknown.append("macOS version")
    return version or _NEW


def _working_set(memory: int, wired: int | None, version: int) -> tuple[int, str]:
    """Return Metal's working set in bytes, and where the figure comes from."""
    if wired:
        most = _most_wired(memory)
        if memory and wired > most:
            return (
                most,
                f"iogpu.wired_limit_mb leaves macOS too little: all but {size(memory - most)}",
            )
        return wired, "iogpu.wired_limit_mb, set by hand"
    if not memory:
        return 0, "unknown: hw.memsize gave no answer"
    known = [p for p in _POINTS if p.first_macos <= version <= p.last_macos]
    ram = Fraction(memory, GIB)
    exact = next((p for p in known if p.ram_gib == ram), None)
    if exact:
        return exact.working_set_bytes, f"Metal's default working set, measured on {exact.source}"
    # Between two measured sizes the lower of their shares: too little refuses or shrinks a plan,
    # too much fails after minutes of loading.
    near = [p for p in known if p.ram_gib < ram][-1:] + [p for p in known if p.ram_gib > ram][:1]
    share = min(Fraction(p.working_set_bytes, p.ram_gib * GIB) for p in near)
    points = " and ".join(f"{p.ram_gib} GB" for p in near)
    return int(memory * share), (
        f"Metal's default working set, taken as {float(share):.0%} of RAM "
        f"from Macs of {points}: no measurement for this size"
    )


def _most_wired(memory: int) -> int:
    """Return the most that may be wired: macOS needs 13 GiB, and of a small Mac a third."""
    return memory - min(_LEAST_REST_BYTES, memory // 3)


def _gpu_cores(reader: Reader) -> int | None:
    """Return the GPU's cores: ioreg answers in 17 ms, the profiler needs 260 and more."""
    match = re.search(
        r'"gpu-core-count"\s*=\s*([0-9]+)',
        stdout_of(reader, "ioreg", "-rc", "AGXAccelerator") or "",
    )
    if match:
        return count(match[1])
    answer = document(stdout_of(reader, "system_profiler", "-json", "SPDisplaysDataType"))
    cards = rows(answer.get("SPDisplaysDataType")) if isinstance(answer, dict) else []
    return next((n for card in cards if (n := count(text_of(card.get("sppci_cores"))))), None)


def _advice(memory: int, limit: int, wired: int | None) -> list[Advice]:
    """Return the next raise of the wired limit, if there is one that leaves macOS enough."""
    if memory not in _ADVISED_RAM_BYTES:
        return []
    for rest in _ADVISED_REST_BYTES:
        target = (memory - rest) // MIB
        if target * MIB > limit:
            return [
                Advice(
                    f"Let Metal use {size(target * MIB)} of {size(memory)}, until the next start",
                    f"sudo sysctl iogpu.wired_limit_mb={target}",
                    f"sudo sysctl iogpu.wired_limit_mb={(wired or 0) // MIB}",
                    limit_after=target * MIB,
                )
            ]
    return []
