"""Watches the memory that is left while an engine runs, and says when the engine has to end.

The guard loads this file by its path: the standard library alone, and nothing of steprun. It reads
what the system itself goes by: on Linux `MemAvailable` and the control groups that this process is
in, on macOS the level that `memory_pressure` prints, on Windows the free physical memory.

Two floors, in bytes. Below `low`, memory is short and the owner is told. Below `least`, or sooner
where it is falling so fast that it would be there before the next look is over, the engine has to
end: then the system has not yet begun to take pages from everybody, which is what freezes a
machine.

What is left decides alone, in two looks at least: one reading that lies ends nothing. All else is a
sign beside it. Memory that goes to swap makes a fall steeper. Time that everybody lost waiting for
memory (`memory_signs.py`) makes memory short a little above `low`, and ends the engine only below
it: above `low` nothing ends it, whatever a sign says. A sign that cannot be read is none.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Protocol

MARK: Final = "steprun stopped the engine: "
"""What begins the line in the engine's log that says why."""

LONGEST_S: Final = 0.25
SHORTEST_S: Final = 0.02
# In bytes a second: a judgement, beyond what a balloon was seen to take (0.3 to 1.2 GiB/s, measured
# by `scripts/attack_memory` in a virtual machine). Faster than that, a look comes too late.
FASTEST: Final = 8 << 30
# A judgement, too: the longest pause between two looks, in which nobody would see the fall go on.
AHEAD_S: Final = LONGEST_S
RATE_S: Final = 0.05  # a fall is measured over so long at least: one look alone is noise
# Left again below `low`, plus a quarter: else a word is said at each page.
AGAIN: Final = 1.25
# The share of ten seconds in which nobody got on for want of memory. systemd-oomd ends what has
# 60 % of `full avg10` (oomd.conf, DefaultMemoryPressureLimit=), whatever is left.
STALLED: Final = 0.6
# From half of that on memory is short, if less than twice `low` is left. A judgement.
STALLED_LOW: Final = STALLED / 2
PRESSED: Final = 2

_NONE: Final = 1 << 60  # a group's limit that is none: "max", or nearly 2^63
_READ: Final = 1 << 14
_LEVELS: Final = 32

State = Literal["fine", "low", "over"]


class Judge:
    """Decides from readings, against two floors in bytes. Pure: its owner has clock and meter."""

    def __init__(self, low: int, least: int) -> None:
        self._floor, self._least = low, least
        self._readings: list[int] = []
        self._before: tuple[float, int] | None = None
        self._fall = 0.0
        self._low = False

    def look(self, now: float, left: int, swap: int = 0, stalled: float = 0.0) -> State:
        """Return what a reading means; `now` in seconds of a monotonic clock.

        `left` in bytes, `swap` what is free of it, `stalled`: the share of the last seconds in
        which nobody got on for want of memory.
        """
        self._readings = [*self._readings[-2:], left]
        # The middle one of three: a single one that lies is never taken.
        left = sorted(self._readings)[len(self._readings) // 2]
        if self._before is None:
            self._before = now, left + swap
        elif (passed := now - self._before[0]) >= RATE_S or passed < 0:
            fall = (self._before[1] - left - swap) / passed
            self._fall = max(0.0, fall) if passed > 0 else 0.0
            self._before = now, left + swap
        # While a model is loaded memory falls fast, too, but not below what was planned.
        short = left < self._floor
        soon = left - self._fall * AHEAD_S if short else left
        stands = short and stalled >= STALLED
        if len(self._readings) > 1 and (min(left, soon) < self._least or stands):
            return "over"
        pressed = left < PRESSED * self._floor and stalled >= STALLED_LOW
        self._low = pressed or left < self._floor * (AGAIN if self._low else 1)
        return "low" if self._low else "fine"

    def pause(self, left: int) -> float:
        """Return after how many seconds to look again: the nearer the floor, the sooner."""
        left = min((left, *self._readings))  # the lowest of the last three may be the true one
        return max(SHORTEST_S, min(LONGEST_S, (left - self._floor) / FASTEST))


class Meter(Protocol):
    """Reads what is left; `swap`: how much was free of it then, in bytes."""

    swap: int

    def left(self) -> int | None:
        """Return how many bytes are left; None where the system did not say."""

    def stalls(self) -> tuple[float, ...]:
        """Return for how many seconds nobody got on for want of memory, by each who counts it.

        Since some moment in the past, which is the counter's own. It may hang.
        """

    def close(self) -> None:
        """Close what it has opened."""


def meter(pid: int, mapped: int) -> Meter | None:
    """Return the meter of this system for an engine's process; None where there is none.

    `mapped`: bytes of weights that are computed from where their file is mapped. The system counts
    their pages as available, although the engine would read them again and again.
    """
    if sys.platform == "linux":
        return LinuxMeter(pid, mapped)
    if sys.platform == "darwin":
        return MacMeter()
    return WindowsMeter() if sys.platform == "win32" else None


def left_now(pid: int = 0, mapped: int = 0) -> int | None:
    """Return what is left at this moment; None where nobody says. See `meter`."""
    if (found := meter(pid, mapped)) is None:
        return None
    try:
        return found.left()
    finally:
        found.close()


# --- Linux


class LinuxMeter:
    """`MemAvailable` and the rooms of this process's control groups: the least of them.

    Files stay open: a system without memory may not be able to open one. `root` for tests.
    """

    def __init__(self, pid: int, mapped: int, root: Path = Path("/")) -> None:
        self._mapped = mapped
        self.swap = 0
        self._all = _File(root / "proc/meminfo")
        self._engine = _File(root / "proc" / str(pid) / "status") if mapped else None
        found = list(_groups(root))
        self._groups = [_Group(*each) for each in found]
        # Groups of version 1 have none.
        pressures = [root / "proc/pressure/memory"]
        pressures += [each[0] / "memory.pressure" for each in found[:1]]
        self._pressures = [_File(path) for path in pressures]

    def close(self) -> None:
        """Close all files."""
        for file in (self._all, *([self._engine] if self._engine else []), *self._pressures):
            file.close()
        for group in self._groups:
            group.close()

    def left(self) -> int | None:
        """Return the least of what the system and each group leave."""
        text = self._all.text()
        available = _field(text, "MemAvailable:")
        if available is None or available > (_field(text, "MemTotal:") or available):
            return None
        self.swap = (_field(text, "SwapFree:") or 0) * 1024
        least = available * 1024
        for group in self._groups:
            room = group.room(least)
            least = least if room is None else min(least, room)
        return max(0, least - self._needed())

    def stalls(self) -> tuple[float, ...]:
        """Return the totals of `full`, of the system and of the innermost group (Linux 4.20)."""
        texts = (file.text().partition("\nfull ")[2] for file in self._pressures)
        words = (text.partition("total=")[2].partition("\n")[0] for text in texts)
        return tuple(int(word) / 1e6 for word in words if word.isdecimal())

    def _needed(self) -> int:
        if self._engine is None:
            return 0
        resident = _field(self._engine.text(), "RssFile:") or 0
        return min(resident * 1024, self._mapped)


class _File:
    """A file of the kernel's that is read over and over, from its beginning."""

    def __init__(self, path: Path) -> None:
        self._fd = -1
        with suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY)

    def text(self) -> str:
        if self._fd < 0:
            return ""
        try:
            return os.pread(self._fd, _READ, 0).decode("ascii", "replace")
        except OSError:  # the process or the group is gone
            return ""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def figure(self) -> int | None:
        word = self.text().strip()
        return int(word) if word.isdecimal() else None


class _Group:
    """One control group that this process is in. Its limits may change while it runs."""

    def __init__(self, folder: Path, limits: tuple[str, ...], used: str, cached: str) -> None:
        self._limits = [_File(folder / name) for name in limits]
        self._used = _File(folder / used)
        self._stat = _File(folder / "memory.stat")
        self._cached = cached

    def close(self) -> None:
        for file in (*self._limits, self._used, self._stat):
            file.close()

    def room(self, no_more: int) -> int | None:
        """Return how much it leaves, None where it has no limit or leaves more than `no_more`."""
        found = (each.figure() for each in self._limits)
        limit = min((figure for figure in found if figure is not None), default=_NONE)
        used = self._used.figure()
        if used is None or limit >= _NONE:
            return None
        if limit - used >= no_more:
            return None  # what could be dropped need not be counted, which costs more
        stat = self._stat.text()
        cached = (
            _field(stat, f"{self._cached}{kind}_file") or 0 for kind in ("inactive", "active")
        )
        return limit - used + sum(cached)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, ...], str, str]]:
    """Yield the folders of the groups, with the names of what limits, is used, and can be dropped.

    The mount of a container shows its own group as the top, whatever its path is outside.
    """
    listing = _File(root / "proc/self/cgroup")
    text = listing.text()
    listing.close()
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        limits: tuple[str, ...] = ("memory.max", "memory.high")
        if number == "0" and not kinds:
            top, used, cached = root / "sys/fs/cgroup", "memory.current", ""
        elif "memory" in kinds.split(","):
            top, used, cached = root / "sys/fs/cgroup/memory", "memory.usage_in_bytes", "total_"
            limits = ("memory.limit_in_bytes",)
        else:
            continue
        inside = top / path.strip("/")
        folder = inside if inside.is_dir() else top
        for level in [folder, *folder.parents][:_LEVELS]:
            if (level / used).is_file():
                yield level, limits, used, cached
            if level == top:
                break


def _field(text: str, name: str) -> int | None:
    """Return the number after a name at the beginning of a line."""
    at = 0 if text.startswith(name) else text.find(f"\n{name}") + 1
    if not at and not text.startswith(name):
        return None
    words = text[at + len(name) : at + len(name) + 40].split(None, 1)
    return int(words[0]) if words and words[0].isdecimal() else None


def keep_in_memory() -> bool:
    """Lock this process into memory, so that it can look when there is none. Linux, if allowed.

    Only where there is no limit: below one, a later allocation of this process would fail.
    """
    with suppress(ImportError, OSError, ValueError, AttributeError):
        import resource  # noqa: PLC0415 - not on Windows

        current_and_future = 1 | 2  # <sys/mman.h>
        unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
        if sys.platform == "linux" and (unlimited or os.geteuid() == 0):
            return int(ctypes.CDLL(None).mlockall(current_and_future)) == 0
    return False


def give_back(pid: int) -> None:
    """Have the kernel take a killed process's memory back at once (Linux 5.15), if it can.

    The process does it itself when it has a turn; on busy cores that may be too late.
    """
    process_mrelease = 448  # the same number on all architectures
    with suppress(OSError, AttributeError):
        opened = os.pidfd_open(pid)
        try:
            ctypes.CDLL(None).syscall(process_mrelease, opened, 0)
        finally:
            os.close(opened)


# --- macOS, Windows


class MacMeter:
    """`kern.memorystatus_level`: per cent of the memory that are free, as `memory_pressure` says.

    Whole per cents, rounded here to the safe side. What is wired, a GPU's memory too, is not free.
    """

    swap = 0  # grows by itself, as long as the disk has room

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._at, self._stalled = clock, clock(), 0.0

    def left(self) -> int | None:
        """Return what is free."""
        level = _sysctl("kern.memorystatus_level", ctypes.c_int)
        memory = _sysctl("hw.memsize", ctypes.c_uint64)
        if level is None or memory is None:
            return None
        if level > 100:
            return None
        return max(0, level - 1) * memory // 100

    def stalls(self) -> tuple[float, ...]:
        """Return how long the system has called its memory critical (`kVMPressureCritical`, 4)."""
        now = self._clock()
        passed, self._at = min(1.0, max(0.0, now - self._at)), now  # asleep, nobody was kept
        if _sysctl("kern.memorystatus_vm_pressure_level", ctypes.c_int) == 4:
            self._stalled += passed
        return (self._stalled,)

    def close(self) -> None:
        """Nothing is open."""


def _sysctl(name: str, kind: type[ctypes.c_int] | type[ctypes.c_uint64]) -> int | None:
    with suppress(OSError, AttributeError):
        value, length = kind(), ctypes.c_size_t(ctypes.sizeof(kind))
        ask = ctypes.CDLL(None).sysctlbyname
        if ask(name.encode(), ctypes.byref(value), ctypes.byref(length), None, 0) == 0:
            return int(value.value)
    return None


class _MemoryStatus(ctypes.Structure):
    """`MEMORYSTATUSEX` of sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        *((f"figure{index}", ctypes.c_uint64) for index in range(7)),
    )


class WindowsMeter:
    """The physical memory that is free (`ullAvailPhys` of `GlobalMemoryStatusEx`).

    What can still be promised to programs (`ullAvailPageFile`) is not counted: it grows on demand.
    """

    swap = 0

    def left(self) -> int | None:
        """Return what is free."""
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        with suppress(OSError, AttributeError):
            windows = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
            if windows.GlobalMemoryStatusEx(ctypes.byref(status)):
                return int(status.figure1)
        return None

    def stalls(self) -> tuple[float, ...]:
        """Return nothing: the system does not count it."""
        return ()

    def close(self) -> None:
        """Nothing is open."""
