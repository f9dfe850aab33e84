"""Reads what every computer has: memory, processor cores, an operating system.

One function per system, in a table. All figures come through the reader, so that a replay gives
the same machine; psutil would only read the computer that the replay runs on.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from runner.base.units import KIB
from runner.machine.captures.capture import Reader
from runner.machine.facts import (
    IDLE_SYSTEM_BYTES,
    Advice,
    Backend,
    Machine,
    Platform,
    processor_reserve,
)
from runner.machine.probes import cgroup
from runner.machine.probes.read import (
    count,
    document,
    pairs,
    parse_size,
    rows,
    stdout_of,
    strip_codes,
    text_of,
)

_MOST_CORES = 4096
_MOST_RAM_BYTES = 64 << 40  # no computer has more; whatever says so counts something else

_ARCHITECTURES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "x64": "x86_64",
    "9": "x86_64",
    "arm64": "arm64",
    "aarch64": "arm64",
    "12": "arm64",
}  # fmt: skip - 9 and 12: Win32_Processor.Architecture

_POWERSHELL = ("powershell", "-NoProfile", "-NonInteractive", "-Command")
_UTF8 = "[Console]::OutputEncoding=[Text.Encoding]::UTF8;"

# One answer in our own keys: PowerShell's tables and messages are translated, JSON keys are not.
WINDOWS_HOST = (
    *_POWERSHELL,
    (
        f"{_UTF8}"
        "$o=Get-CimInstance Win32_OperatingSystem;$p=@(Get-CimInstance Win32_Processor);"
        "@{total_kib=$o.TotalVisibleMemorySize;free_kib=$o.FreePhysicalMemory;cpu=$p[0].Name;"
        "cores=($p|Measure-Object NumberOfCores -Sum).Sum;arch=$p[0].Architecture}"
        "|ConvertTo-Json -Compress"
    ),
)

# The class of display adapters. Keys of cards that were taken out stay behind, so the adapters
# that are present are asked for too; of their ids only the part that names the model.
WINDOWS_ADAPTERS = (
    *_POWERSHELL,
    (
        f"{_UTF8}"
        "$k='HKLM:\\SYSTEM\\CurrentControlSet\\Control\\Class\\"
        "{4d36e968-e325-11ce-bfc1-08002be10318}\\0*';"
        "@{present=@(Get-CimInstance Win32_VideoController|"
        "%{@{name=$_.Name;id=($_.PNPDeviceID -split '\\\\')[1]}});"
        "registry=@(Get-ItemProperty $k -ErrorAction SilentlyContinue|"
        "%{@{name=$_.DriverDesc;id=$_.MatchingDeviceId;driver=$_.DriverVersion;"
        "qw=$_.'HardwareInformation.qwMemorySize';dw=$_.'HardwareInformation.MemorySize'}})}"
        "|ConvertTo-Json -Compress -Depth 4"
    ),
)

# What `vm_stat` counts as memory that can be had without compressing or swapping anything: pages
# that are free, that hold files, and that programs gave up. Inactive pages also hold programs' own
# data; they stand in only where files are not counted apart.
_MAC_FREE = ("Pages free", "Pages purgeable")
_MAC_FILES = (("File-backed pages",), ("Pages inactive", "Pages speculative"))


@dataclass(slots=True)
class Notes:
    """What a probe has to say beside its answer."""

    unknown: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The computer without its accelerators.

    Sizes in bytes; 0 or None where unknown. `available_bytes`: what a new process can have
    without swapping (MemAvailable, or the room left in this control group if that is less);
    swap never counts. `free_bytes`: without dropping the page cache either. `hidden_bytes`: in
    use, and by no program, cache or table of the kernel: drivers hold it. `system_bytes`: what
    the system has available, whatever a control group leaves of it; `group`: that control group.
    """

    os: str
    arch: str
    cpu: str
    memory_bytes: int
    available_bytes: int | None
    available_source: str
    free_bytes: int | None = None
    cores: int = 1
    hidden_bytes: int | None = None
    system_bytes: int | None = None
    group: cgroup.Group | None = None

    @property
    def idle_bytes(self) -> int | None:
        """What a new process could have if nothing else ran; None where that is not known.

        Of the RAM an idle system holds a part; a control group's limit stays a limit.
        """
        if self.available_bytes is None:
            return None
        idle = max(self.system_bytes or 0, self.memory_bytes - IDLE_SYSTEM_BYTES)
        if self.group is not None:
            idle = min(idle, self.group.limit)
        return max(self.available_bytes, idle)

    def machine(self) -> Machine:
        """Return the machine that computes on its processor: of any other, the part they share."""
        limit = self.available_bytes or 0
        return Machine(
            platform=Platform.CPU,
            name=self.cpu or "Computer without an accelerator",
            os=self.os,
            arch=self.arch,
            memory_bytes=self.memory_bytes,
            unified=False,
            backend=Backend.CPU,
            limit_bytes=limit,
            limit_source=f"{self.available_source}, as it is now; swap is not counted"
            if limit
            else "unknown",
            reserve_bytes=processor_reserve(limit),
            reserve_why="other programs, and the growth of this one",
            cores=self.cores,
            available_bytes=self.available_bytes,
        )


def read_host(reader: Reader, notes: Notes) -> HostFacts:
    """Return what is known of the computer itself; what is not is named in the notes."""
    system, _, arch = strip_codes(reader.platform).partition("-")
    probe = _SYSTEMS.get(system)
    if probe is None:
        notes.unknown.append("operating system")
        return HostFacts(
            system or "unknown", _ARCHITECTURES.get(arch.lower(), arch), "", 0, None, ""
        )
    host = _bounded(probe(reader, _ARCHITECTURES.get(arch.lower(), "")))
    for name, known in (
        ("memory", host.memory_bytes > 0),
        ("available memory", host.available_bytes is not None),
        ("architecture", host.arch != ""),
    ):
        if not known:
            notes.unknown.append(name)
    return host


def beyond_group(host: HostFacts, whose: str, notes: Notes) -> tuple[HostFacts, int | None]:
    """Return the host as its graphics see it, and what its control group leaves the process itself.

    Memory of RAM that the drivers of GB10 (pygraphistry 1671, sglang 35860) and of Strix Halo
    (ROCm 6370) allocate is not charged to a control group. Only where the group hides what the
    system has (LXC) is nothing else known. `whose`: what to call that memory, in a sentence.
    """
    group = host.group
    if group is None or group.whole:
        return host, None
    notes.warnings.append(
        f"{group.warning()} {whose} is not counted there; the engine's own process and the files "
        "that it reads are."
    )
    whole = replace(host, available_bytes=host.system_bytes, available_source="MemAvailable")
    return whole, group.room


def _bounded(host: HostFacts) -> HostFacts:
    """Return the host with no more memory available than it has, whatever was reported.

    Where it is not known how much it has, nothing is known to be available either.
    """
    if not 0 < host.memory_bytes <= _MOST_RAM_BYTES:
        return replace(host, memory_bytes=0, available_bytes=None)
    if host.available_bytes is None:
        return host
    most = host.memory_bytes
    whole = None if host.system_bytes is None else min(host.system_bytes, most)
    return replace(host, available_bytes=min(host.available_bytes, most), system_bytes=whole)


def display_ids(reader: Reader, system: str) -> list[str] | None:
    """Return the PCI display devices that are present, as `10de:2e12`; None if none can be seen.

    The system lists them even where no driver is loaded and no tool is installed.
    """
    listing = _DISPLAYS.get(system)
    return listing(reader) if listing else None


def pci_id(row: dict[str, Any]) -> str:
    """Return the PCI id in a row of `WINDOWS_ADAPTERS`, as `1002:1586`, or empty text."""
    match = re.search(r"VEN_([0-9A-F]{4})&DEV_([0-9A-F]{4})", text_of(row.get("id")), re.IGNORECASE)
    return f"{match[1]}:{match[2]}".lower() if match else ""


def _linux_displays(reader: Reader) -> list[str] | None:
    paths = reader.glob("/sys/bus/pci/devices/*/uevent")
    events = [pairs(reader.file(path), "=") for path in paths]
    if not events:
        return _lspci_displays(reader)
    # Class 03xxxx is a display controller; the kernel prints it without the leading zero.
    return [
        strip_codes(event.get("PCI_ID")).lower()
        for event in events
        if re.fullmatch("0?3[0-9A-F]{4}", event.get("PCI_CLASS", ""))
    ]


def _lspci_displays(reader: Reader) -> list[str] | None:
    """Ask lspci, where sysfs is not to be seen: some containers."""
    answer = stdout_of(reader, "lspci", "-nn")
    if answer is None:
        return None
    lines = [line for line in answer.splitlines() if re.search(r"\[03[0-9a-f]{2}\]", line)]
    found = (re.search(r"\[([0-9a-f]{4}:[0-9a-f]{4})\]", line) for line in lines)
    return [match[1] for match in found if match]


def _windows_displays(reader: Reader) -> list[str] | None:
    answer = document(stdout_of(reader, *WINDOWS_ADAPTERS))
    present = rows(answer.get("present")) if isinstance(answer, dict) else []
    return [found for row in present if (found := pci_id(row))] if present else None


_DISPLAYS: dict[str, Callable[[Reader], list[str] | None]] = {
    "linux": _linux_displays,
    "windows": _windows_displays,
}


def _linux(reader: Reader, arch: str) -> HostFacts:
    meminfo = pairs(reader.file("/proc/meminfo"))
    cpuinfo = reader.file("/proc/cpuinfo")
    processor = pairs(cpuinfo)
    total = parse_size(meminfo.get("MemTotal"), KIB) or 0
    available, source = parse_size(meminfo.get("MemAvailable"), KIB), "MemAvailable"
    if available is None:  # a kernel before 3.14, or a capture by hand: less, and never more
        available, source = parse_size(meminfo.get("MemFree"), KIB), "MemFree"
    group, whole = cgroup.tightest(reader, total), available
    if group is not None and (available is None or group.room < available or group.whole):
        available, source = min(group.room, available or group.room), group.source
    else:
        group = None
    return HostFacts(
        os="linux",
        arch=arch or ("arm64" if "CPU implementer" in processor else "x86_64"),
        cpu=strip_codes(processor.get("model name")),
        memory_bytes=total,
        available_bytes=available,
        available_source=source,
        free_bytes=parse_size(meminfo.get("MemFree"), KIB),
        cores=_linux_cores(reader, cpuinfo),
        hidden_bytes=_hidden(total, meminfo),
        system_bytes=whole,
        group=group,
    )


# What /proc/meminfo names of the memory in use; Shmem and the mapped files are in Cached.
_NAMED = ("MemFree", "Buffers", "Cached", "AnonPages", "Slab")
_NAMED_TOO = ("SwapCached", "KernelStack", "PageTables", "SecPageTables", "Percpu", "Hugetlb")


def hidden_bytes(meminfo: str) -> int | None:
    """Return the memory in use that the kernel does not name, by the text of `/proc/meminfo`.

    A graphics driver's is there: of GB10 and of Strix Halo, what an engine's device holds.
    """
    named = pairs(meminfo)
    return _hidden(parse_size(named.get("MemTotal"), KIB) or 0, named)


def _hidden(total: int, meminfo: dict[str, str]) -> int | None:
    """Return the memory that is in use by nothing that the kernel names, if it names enough."""
    named = [parse_size(meminfo.get(key), KIB, least=0) for key in _NAMED]
    if not total or None in named:
        return None
    more = [parse_size(meminfo.get(key), KIB, least=0) for key in _NAMED_TOO]
    return max(0, total - sum(value or 0 for value in (*named, *more)))


def _linux_cores(reader: Reader, cpuinfo: str | None) -> int:
    """Return the physical cores: a second thread of a core adds nothing to a matrix product."""
    logical, physical = 0, set()
    for block in (cpuinfo or "").split("\n\n"):
        processor = pairs(block)
        if "processor" in processor:
            logical += 1
        if "core id" in processor:
            physical.add((processor.get("physical id"), processor["core id"]))
    cores = min(len(physical) or logical or 1, _MOST_CORES)
    quota, _, period = strip_codes(reader.file("/sys/fs/cgroup/cpu.max")).partition(" ")
    allowed, of = parse_size(quota), parse_size(period)
    return max(1, min(cores, -(-allowed // of))) if allowed and of else cores


def _macos(reader: Reader, arch: str) -> HostFacts:
    pages = stdout_of(reader, "vm_stat")
    page = re.search(r"page size of ([0-9]{1,8}) bytes", pages or "")
    counted = pairs(pages)
    files = next((keys for keys in _MAC_FILES if keys[0] in counted), ())
    free = (
        [parse_size(counted.get(key, "").rstrip("."), int(page[1])) for key in (*_MAC_FREE, *files)]
        if page
        else []
    )
    # A Python for Intel runs under Rosetta and says x86_64; the kernel knows better.
    silicon = strip_codes(stdout_of(reader, "sysctl", "-n", "hw.optional.arm64")) == "1"
    return HostFacts(
        os="macos",
        arch="arm64" if silicon else arch,
        cpu=strip_codes(stdout_of(reader, "sysctl", "-n", "machdep.cpu.brand_string")),
        memory_bytes=parse_size(stdout_of(reader, "sysctl", "-n", "hw.memsize")) or 0,
        available_bytes=sum(part or 0 for part in free) or None,
        available_source="free and reclaimable pages of vm_stat",
        free_bytes=free[0] if free else None,
        cores=count(stdout_of(reader, "sysctl", "-n", "hw.physicalcpu"), _MOST_CORES) or 1,
    )


def _windows(reader: Reader, arch: str) -> HostFacts:
    answer = (rows(document(stdout_of(reader, *WINDOWS_HOST))) or [{}])[0]
    values = {key: text_of(value) for key, value in answer.items()}
    free = parse_size(values.get("free_kib"), KIB)
    return HostFacts(
        os="windows",
        arch=_ARCHITECTURES.get(values.get("arch", ""), arch),
        cpu=strip_codes(values.get("cpu")),
        memory_bytes=parse_size(values.get("total_kib"), KIB) or 0,
        available_bytes=free,
        available_source="free physical memory, as Windows reports it",
        free_bytes=free,
        cores=count(values.get("cores"), _MOST_CORES) or 1,
    )


# Keyed by sys.platform, and by the names that people write into captures.
_SYSTEMS: dict[str, Callable[[Reader, str], HostFacts]] = {
    "linux": _linux,
    "darwin": _macos,
    "macos": _macos,
    "win32": _windows,
    "windows": _windows,
}
