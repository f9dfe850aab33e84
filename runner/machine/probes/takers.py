"""Which programs hold the most memory, for people who are to close some. Looks at every process.

A program is its file: a browser's processes have names of their own, and count as one. Counted is
what would come free: memory of its own, its share of what several share, and what a graphics driver
holds for it where that is main memory. Pages of files are not: the system drops them by itself.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

import psutil

from runner.base.text import clean_name
from runner.base.units import GIB, KIB, MIB, size
from runner.machine.captures.capture import Live, Reader
from runner.machine.probes.host import hidden_bytes
from runner.machine.probes.read import device_size, pairs, parse_size, stdout_of

SHOWN: Final = 3
LEAST_BYTES: Final = 256 << 20  # to close what has less helps nobody
# What the kernel does not name is a word worth from here on: idle machines show 1 to 2 GiB, and
# what it is off by for a moment.
HIDDEN_BYTES: Final = 4 * GIB
# Files in memory, of which no process shows more than it has mapped.
FILES_BYTES: Final = GIB
_EXACT_BYTES: Final = 32 * MIB  # below, a process is not worth a look at its own books
_MOST_FILES: Final = 256  # open files of one process that are looked at
_NAME: Final = 40
# They say nothing of what they run. `-m module` and `script.py` do; nothing else is ever shown of a
# command line.
_INTERPRETERS: Final = re.compile(r"(?i)(python|node|ruby|perl|java|bun|deno)[0-9.]*(\.exe)?")
_CODE: Final = frozenset({"-c", "-e", "-p", "-pe", "--eval", "--print"})  # what follows is code
_WORD: Final = re.compile(r"[\w.-]{1,40}")
_CONTAINER: Final = re.compile(
    r"(?:docker|libpod|crio|cri-containerd)[-/:]([0-9a-f]{12})[0-9a-f]{52}"
)
_GPU_TABLE: Final = (
    "nvidia-smi",
    "--query-compute-apps=pid,used_memory",
    "--format=csv,noheader,nounits",
)
_GPU_TOTALS: Final = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Taker:
    """A program, all its processes together, and what it holds in bytes."""

    name: str
    bytes: int


def takers(without: Iterable[int] = (), reader: Reader | None = None) -> tuple[Taker, ...]:
    """Return what holds the most memory, the largest first; `without` these processes.

    What a program holds of a card's own memory is a line by itself. Beside programs that can be
    files in memory, and what belongs to no process. Takes some
    milliseconds, and three seconds where a driver does not answer. Those that may not be looked at
    are counted by what everybody may see, or left out.
    """
    reader = reader or Live()
    hidden, held, shown_files = set(without), Counter[str](), 0
    on_gpu, apart = _on_gpu(reader)
    for process in psutil.process_iter():
        try:
            pid = process.pid
            if pid in hidden:
                shown_files += _shared(reader, pid)
                continue
            memory = process.memory_info()
            # Pages of files that several have mapped are counted by each of them.
            own = max(0, memory.rss - getattr(memory, "shared", 0))
            on_card, mapped = on_gpu.get(pid, 0), 0
            if memory.rss >= _EXACT_BYTES or on_card:
                shared = _shared(reader, pid)
                shown_files += shared
                own = max(own, _private(reader, pid)) + shared
                vram, mapped = _of_graphics(reader, pid)
                on_card += vram
            own += mapped + (0 if apart else on_card)
            if max(own, on_card) >= _EXACT_BYTES:
                name = _program(process, reader)
                held[name] += own
                held[f"{name} on a graphics card"] += on_card if apart else 0
        except (psutil.Error, OSError):
            continue
    meminfo = reader.file("/proc/meminfo") or ""
    files = (parse_size(pairs(meminfo).get("Shmem"), KIB, least=0) or 0) - shown_files
    if files >= FILES_BYTES:
        held["files in memory, such as those in /dev/shm"] = files
    unseen = (hidden_bytes(meminfo) or 0) - (0 if apart else sum(on_gpu.values()))
    if unseen >= HIDDEN_BYTES:
        held["no program: a driver, or other computers that run on this one"] = unseen
    large = ((name, taken) for name, taken in held.most_common(SHOWN) if taken >= LEAST_BYTES)
    return tuple(Taker(name, taken) for name, taken in large)


def in_words(found: Iterable[Taker]) -> str:
    """Return a sentence that names programs, empty without any."""
    named = ", ".join(f"{each.name} ({size(each.bytes)})" for each in found)
    return f"The largest now: {named}." if named else ""


# --- how much


def _private(reader: Reader, pid: int) -> int:
    """Return a process's own memory, by its books; 0 where they may not be read."""
    return _books(reader, pid, "Pss_Anon")


def _shared(reader: Reader, pid: int) -> int:
    """Return a process's part of memory that several share, such as a browser's pictures."""
    return _books(reader, pid, "Pss_Shmem")


def _books(reader: Reader, pid: int, name: str) -> int:
    books = pairs(reader.file(f"/proc/{pid}/smaps_rollup"))
    return parse_size(books.get(name), KIB, least=0) or 0


def _of_graphics(reader: Reader, pid: int) -> tuple[int, int]:
    """Return what amdgpu and its like hold for a process: of a card's memory, and of main memory.

    Each open file of the driver's says it; of equal clients one counts (drm-usage-stats.rst).
    """
    clients: dict[str, tuple[int, int]] = {}
    if not reader.glob("/dev/dri/renderD*"):
        return 0, 0
    for path in reader.glob(f"/proc/{pid}/fdinfo/*")[:_MOST_FILES]:
        text = reader.file(path) or ""
        if "drm-" not in text:
            continue
        facts = pairs(text)
        clients[facts.get("drm-client-id", path)] = (
            _of_client(facts, "vram"),
            _of_client(facts, "gtt"),
        )
    return sum(vram for vram, _ in clients.values()), sum(gtt for _, gtt in clients.values())


def _of_client(facts: dict[str, str], kind: str) -> int:
    shown = facts.get(f"drm-resident-{kind}", facts.get(f"drm-memory-{kind}"))
    return parse_size(shown, least=0) or 0


def _on_gpu(reader: Reader) -> tuple[dict[int, int], bool]:
    """Return what NVIDIA's driver holds for each process, and whether cards have memory apart.

    On a GB10 it is main memory, and the driver knows of no total.
    """
    totals = stdout_of(reader, *_GPU_TOTALS)
    if totals is None:
        return {}, True
    apart = any(device_size(line, MIB) for line in totals.splitlines())
    rows = (line.split(", ") for line in (stdout_of(reader, *_GPU_TABLE) or "").splitlines())
    found = {}
    for row in rows:
        if len(row) == 2 and row[0].isdecimal():
            found[int(row[0][:9])] = device_size(row[1], MIB) or 0
    return found, apart


# --- who


def _program(process: psutil.Process, reader: Reader) -> str:
    name = clean_name(_file(process) or process.name(), _NAME)
    if _INTERPRETERS.fullmatch(name):
        name = f"{name} {_script(process)}".strip()
    group = reader.file(f"/proc/{process.pid}/cgroup") or ""
    container = _CONTAINER.search(group)
    return f"{name} in container {container[1]}" if container else name


def _file(process: psutil.Process) -> str:
    """Return the name of a process's program, of a Mac's application the outermost."""
    try:
        path = PurePath(process.exe())
    except (psutil.Error, OSError):
        return ""
    apps = (part.removesuffix(".app") for part in path.parts if part.endswith(".app"))
    return next(apps, path.name)


def _script(process: psutil.Process) -> str:
    """Return the name of the script or module that an interpreter runs, empty where unclear."""
    try:
        words = process.cmdline()[1:]
    except (psutil.Error, OSError):
        return ""
    for number, word in enumerate(words[:8]):
        if word == "-m" and number + 1 < len(words):
            word = words[number + 1]  # noqa: PLW2901 - the module's name follows
        elif word in _CODE:
            return ""
        elif word.startswith("-"):
            continue
        name = PurePath(word).name
        return name if _WORD.fullmatch(name) else ""
    return ""
