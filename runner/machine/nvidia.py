"""NVIDIA: cards with memory of their own, and chips that share the system's (GB10 and kin).

The two are told apart by name, never by what memory figure the driver gives: GB10 gives none
(`[N/A]`) or all RAM, N1X a plausible but meaningless 8128 MiB, and GB300 shares address
translation with its processor and yet has real memory of its own.
"""

import re
from dataclasses import dataclass

from runner.machine.capture import Reader
from runner.machine.cards import LEAST_BYTES, discrete
from runner.machine.facts import Advice, Backend, Device, Machine, Platform
from runner.machine.host import Host, Notes, display_ids
from runner.machine.read import GIB, MIB, clean, gib, said, size

# Newest first: a driver that does not know one of the fields refuses the whole query.
QUERIES = (
    ("name", "uuid", "memory.total", "memory.free", "compute_cap", "driver_version"),
    ("name", "uuid", "memory.total", "memory.free"),
)
_MOST_CARDS = 64
_FORMAT = "--format=csv,noheader,nounits"


@dataclass(frozen=True, slots=True)
class _Shared:
    """A chip that shares the system's memory.

    `signs` is matched against what nvidia-smi, PCI, DMI and the device tree call it.
    `windows_share`: the part of the visible RAM that CUDA may take under Windows.
    """

    name: str
    platform: Platform
    signs: re.Pattern[str]
    windows_share: float = 0.5  # WDDM's general rule for shared GPU memory


# In this order: an N1X has GB10's compute capability, and a name of its own.
_SHARED = (
    # 46477 MiB of 54.2 GiB under Windows on Arm (unsloth PR 11208).
    _Shared("NVIDIA N1X", Platform.GB10, re.compile(r"\bN1X\b"), windows_share=0.83),
    # Containers show the PCI id for a name (llmfit); HP, Dell and others sell clones, so the
    # board's name is enough but not needed.
    _Shared(
        "NVIDIA GB10",
        Platform.GB10,
        re.compile(r"\bGB10\b|\b10de:2e12\b|NVIDIA.DGX.Spark|cap 12\.1$"),
    ),
    _Shared("NVIDIA Thor", Platform.CUDA, re.compile(r"\bThor\b|cap 11\.0$")),
    _Shared("NVIDIA Orin", Platform.CUDA, re.compile(r"\bOrin\b|cap 8\.7$")),
)

# A station's superchip may sit beside a card for the screen: plan for the superchip alone.
_SUPERCHIP = re.compile(r"\bG[BH][23]00\b")

# GB10 does not fail when its memory runs out, it livelocks until the power is cut
# (dgx-spark-playbooks 97, vllm 50011); the reports put the safe distance at 8 to 10 GiB.
_SHARED_RESERVE_BYTES = 8 * GIB
# From here on the page cache is worth dropping before a load: cudaMalloc sees MemFree only
# (unsloth PR 10704: 60 GB of cache, 60 GB less to allocate).
_MUCH_CACHE_BYTES = 4 * GIB
# An idle GB10 has 106 to 113 of 121.7 GiB available; well below, something still holds memory.
_IDLE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    uuid: str
    total: int | None
    free: int | None
    capability: str


def probe(reader: Reader, host: Host, notes: Notes) -> Machine | None:
    """Return the machine that NVIDIA's chips make of this computer, or None without any."""
    if host.os == "macos":
        return None
    cards = _cards(reader)
    seen = display_ids(reader, host.os)
    if cards is None:
        _tell_silence(reader, host, seen, notes)
    shared = _shared(reader, cards or [], seen or [])
    if shared:
        return _unified(host, shared, cards or [], notes)
    return _discrete(host, cards, notes) if cards else None


def _cards(reader: Reader) -> list[_Card] | None:
    """Return the cards that nvidia-smi lists; None if it gave no answer that can be read."""
    for fields in QUERIES:
        answer = said(reader, "nvidia-smi", f"--query-gpu={','.join(fields)}", _FORMAT)
        lines = [line for line in (answer or "").splitlines() if line.strip()][:_MOST_CARDS]
        # Split at comma and space: a comma alone may be a decimal mark.
        split = [[clean(part) for part in line.split(", ")] for line in lines]
        found = [dict(zip(fields, row, strict=True)) for row in split if len(row) == len(fields)]
        if found:
            return [
                _Card(
                    name=row["name"],
                    uuid=row["uuid"] if re.fullmatch(r"GPU-[0-9A-Fa-f-]+", row["uuid"]) else "",
                    total=size(row["memory.total"], MIB),
                    free=size(row["memory.free"], MIB, least=0),
                    capability=row.get("compute_cap", ""),
                )
                for row in found
            ]
    return None


def _tell_silence(reader: Reader, host: Host, seen: list[str] | None, notes: Notes) -> None:
    """Note that nvidia-smi is silent, unless the system shows that it has nothing to say."""
    present = any(pci.startswith("10de:") for pci in seen or ())
    wsl = host.os == "linux" and "/dev/dxg" in reader.glob("/dev/dxg*")
    if seen is not None and not present and not wsl:
        return
    notes.unknown.append("nvidia-smi")
    if present:
        notes.warnings.append("An NVIDIA card is here, but nvidia-smi does not answer: no driver?")


def _shared(reader: Reader, cards: list[_Card], seen: list[str]) -> _Shared | None:
    signs = [card.name for card in cards]
    signs += [f"cap {card.capability}" for card in cards]
    signs += seen
    for path in ("/sys/class/dmi/id/product_name", "/proc/device-tree/model"):
        signs.append(clean(reader.file(path)))
    return next((kind for kind in _SHARED if any(map(kind.signs.search, signs))), None)


def _unified(host: Host, kind: _Shared, cards: list[_Card], notes: Notes) -> Machine:
    limit, source = host.available_bytes or 0, f"{host.available_source}; swap is not counted"
    if host.available_bytes is None:
        source = "unknown: the system does not tell how much memory is available"
    if host.os == "windows":
        share = int(host.memory_bytes * kind.windows_share)
        limit, source = min(limit, share), f"{source}; at most {kind.windows_share:.0%} of RAM"
    if 0 < limit < host.memory_bytes * _IDLE_SHARE:
        notes.warnings.append(
            f"Only {gib(limit)} of {gib(host.memory_bytes)} is available: something holds the "
            "rest. The driver may keep memory after an engine stopped; a restart frees it."
        )
    cache = limit - (host.free_bytes or 0)
    if host.os == "linux" and host.free_bytes is not None and cache > _MUCH_CACHE_BYTES:
        notes.advice.append(
            Advice(
                f"Drop the page cache before loading: its {gib(cache)} are lost to CUDA",
                "sudo sh -c 'sync; echo 3 > /proc/sys/vm/drop_caches'",
            )
        )
    named = (c.uuid for c in cards if kind.signs.search(f"{c.name} cap {c.capability}"))
    return Machine(
        platform=kind.platform,
        name=kind.name,
        os=host.os,
        arch=host.arch,
        memory_bytes=host.memory_bytes,
        unified=True,
        backend=Backend.CUDA,
        limit_bytes=limit,
        limit_source=source,
        reserve_bytes=min(_SHARED_RESERVE_BYTES, limit),
        reserve_why="this machine livelocks, and needs its power cut, when memory runs out",
        cores=host.cores,
        available_bytes=host.available_bytes,
        devices=(Device(kind.name, Backend.CUDA, uuid=next(named, "")),),
    )


def _discrete(host: Host, cards: list[_Card], notes: Notes) -> Machine | None:
    super_chips = [card for card in cards if _SUPERCHIP.search(card.name)]
    chosen = []
    for card in super_chips or cards:
        if card.total is None:
            notes.unknown.append(f"memory of {card.name}")
        elif card.total < LEAST_BYTES:
            notes.warnings.append(f"{card.name} has {gib(card.total)}: too little to count on.")
        else:
            chosen.append(card)
    if not chosen:
        return None
    left = [card.name for card in cards if super_chips and card not in super_chips]
    notes.warnings.extend(f"{name} is left for the screen." for name in left)
    free = sum(card.total if card.free is None else card.free for card in chosen if card.total)
    used = sum(card.total or 0 for card in chosen) - free
    if used > len(chosen) * GIB:
        notes.warnings.append(f"{gib(used)} of the cards' memory is in use now.")
    devices = [Device(c.name, Backend.CUDA, c.total, c.free, c.uuid) for c in chosen]
    return discrete(host, Platform.CUDA, Backend.CUDA, devices, "as nvidia-smi reports it")
