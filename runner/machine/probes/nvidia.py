"""NVIDIA: cards with memory of their own, and chips that share the system's (GB10 and kin).

The two are distinguished by name, never by what memory figure the driver gives: GB10 gives none
(`[N/A]`) or all RAM, N1X a plausible but meaningless 8128 MiB, and GB300 shares address
translation with its processor and yet has real memory of its own.
"""

import re
from dataclasses import dataclass, replace

from runner.base.units import GIB, MIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import (
    IDLE_SYSTEM_BYTES,
    Advice,
    Backend,
    Device,
    Machine,
    Platform,
    Purpose,
)
from runner.machine.probes import engine_view, wsl
from runner.machine.probes.cards import LEAST_BYTES, beside, discrete, too_small
from runner.machine.probes.host import HostFacts, Notes, beyond_group, display_ids
from runner.machine.probes.known_trouble import check_known
from runner.machine.probes.read import device_size, strip_codes

# Newest first: a driver that does not know one of the fields refuses the whole query.
QUERIES = (
    ("name", "uuid", "memory.total", "memory.free", "compute_cap", "driver_version"),
    ("name", "uuid", "memory.total", "memory.free"),
)  # fmt: skip
# Asked only of cards that can be cut into slices: no GeForce can.
MIG_QUERY = ("nvidia-smi", "--query-gpu=uuid,mig.mode.current", "--format=csv,noheader,nounits")
# What programs hold on the GPU; answers on GB10 too (unsloth PR 10283), with nothing that names
# a program.
HELD_QUERY = ("nvidia-smi", "--query-compute-apps=used_memory", "--format=csv,noheader,nounits")
_MOST_ROWS = 256
# What nvidia-smi prints of a card that fell off the bus, in place of a row or of its figures. It
# then exits with a code of its own (15), and lists the other cards all the same.
_LOST = re.compile(r"GPU is lost|Unable to determine the device handle")
_SOURCE = "as nvidia-smi reports it"
_FORMAT = "--format=csv,noheader,nounits"


@dataclass(frozen=True, slots=True)
class _SharedChip:
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
    _SharedChip("NVIDIA N1X", Platform.GB10, re.compile(r"\bN1X\b"), windows_share=0.83),
    # Containers show the PCI id for a name (llmfit); HP, Dell and others sell clones, so the
    # board's name is enough but not needed.
    _SharedChip(
        "NVIDIA GB10",
        Platform.GB10,
        re.compile(r"\bGB10\b|\b10de:2e12\b|NVIDIA.DGX.Spark|cap 12\.1$"),
    ),
    # Jetsons also by their device tree, and the rest of them by NVIDIA's release file: all share.
    _SharedChip(
        "NVIDIA Thor",
        Platform.CUDA,
        re.compile(r"NVIDIA Thor|Jetson.* Thor\b|\btegra264\b|cap 11\.0$"),
    ),
    _SharedChip(
        "NVIDIA Orin",
        Platform.CUDA,
        re.compile(r"^Orin\b|NVIDIA Orin|Jetson.* Orin\b|\btegra234\b|cap 8\.7$"),
    ),
    _SharedChip("NVIDIA Jetson", Platform.CUDA, re.compile(r"\bJetson\b|^# R[0-9]+ \(release\)")),
)
_SIGN_FILES = (
    "/sys/class/dmi/id/product_name",
    "/proc/device-tree/model",
    "/proc/device-tree/compatible",
    "/etc/nv_tegra_release",
)

# A station's superchip may sit beside a card for the screen: plan for the superchip alone.
_SUPERCHIP = re.compile(r"\bG[BH][23]00\b")

# GB10 does not fail when its memory runs out, it livelocks until the power is cut
# (dgx-spark-playbooks 97, vllm 50011); the reports put the safe distance from what an engine's
# buffers take at 8 to 10 GiB. The driver's own part of that, 1.8 GiB, is in the ledger by itself
# (`device_mib` in builds/cuda.toml).
_SHARED_RESERVE_BYTES = 25 * GIB // 4
# From here on the page cache is worth dropping before a load: cudaMalloc sees MemFree only
# (unsloth PR 10704: 60 GB of cache, 60 GB less to allocate).
_MUCH_CACHE_BYTES = 4 * GIB
# An idle GB10 has 106 to 113 of 121.7 GiB available; well below, something still holds memory.
_IDLE_SHARE = 0.8
# The driver may keep up to 80 GiB after an engine stopped (public record); idle machines show 1
# to 2 GiB that nothing owns up to.
_MUCH_HIDDEN_BYTES = 8 * GIB


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    uuid: str
    total: int | None
    free: int | None
    capability: str
    index: int = 0  # as nvidia-smi counts: by slot


def probe(reader: Reader, host: HostFacts, notes: Notes) -> Machine | None:
    """Return the machine that NVIDIA's chips make of this computer, or None without any."""
    if host.os == "macos":
        return None
    cards = _cards(reader)
    if any(_LOST.search(cell) for row in _table(reader, *_queries()[0]) or () for cell in row):
        notes.warnings.append(
            "nvidia-smi has lost a card, which no engine can use: restart the computer. If that "
            "does not help, the card's power or slot is at fault."
        )
    seen = display_ids(reader, host.os)
    if cards is None:
        _note_silence(reader, host, seen, notes)
        listed = engine_view.lists(reader, {Backend.CUDA})
        cards = [_Card(d.name, "", d.total, d.free, "") for d in listed] or None
    shared = _shared(reader, cards or [], seen or [])
    if shared:
        return _unified(reader, host, (shared, cards or []), notes)
    return _discrete(reader, host, cards, notes) if cards else None


def _cards(reader: Reader) -> list[_Card] | None:
    """Return the cards that nvidia-smi lists; None if it gave no answer that can be read."""
    for fields, query in zip(QUERIES, _queries(), strict=True):
        split = _table(reader, *query) or []
        found = [dict(zip(fields, row, strict=True)) for row in split if len(row) == len(fields)]
        if found:
            return [replace(_card(row), index=index) for index, row in enumerate(found)]
    return None


def _queries() -> list[tuple[str, ...]]:
    return [("nvidia-smi", f"--query-gpu={','.join(fields)}", _FORMAT) for fields in QUERIES]


def _table(reader: Reader, *argv: str) -> list[list[str]] | None:
    """Return the cells of a query's answer, None if nvidia-smi does not answer it."""
    ran = reader.run(*argv)
    if ran is None or (ran.exit and not _LOST.search(ran.stdout)):
        return None
    answer = ran.stdout
    lines = [line for line in answer.splitlines() if line.strip()][:_MOST_ROWS]
    # Split at comma and space: a comma alone may be a decimal mark.
    return [[strip_codes(part) for part in line.split(", ")] for line in lines]


def _card(row: dict[str, str]) -> _Card:
    total = device_size(row["memory.total"], MIB)
    free = device_size(row["memory.free"], MIB, least=0)
    return _Card(
        name=row["name"],
        uuid=row["uuid"] if re.fullmatch(r"GPU-[0-9A-Fa-f-]+", row["uuid"]) else "",
        total=total,
        free=free if free is None or total is None else min(free, total),
        capability=row.get("compute_cap", ""),
    )


def _note_silence(reader: Reader, host: HostFacts, seen: list[str] | None, notes: Notes) -> None:
    """Note that nvidia-smi is silent, unless the system shows that it has nothing to say."""
    present = any(pci.startswith("10de:") for pci in seen or ())
    if seen is not None and not present and not wsl.inside(reader, host):
        return
    notes.unknown.append("nvidia-smi")
    if present:
        notes.warnings.append(
            "An NVIDIA card is present, but nvidia-smi does not answer: is the driver installed?"
        )


def _shared(reader: Reader, cards: list[_Card], seen: list[str]) -> _SharedChip | None:
    signs = [card.name for card in cards]
    signs += [_cap(card) for card in cards]
    signs += seen
    signs += [strip_codes(reader.file(path)) for path in _SIGN_FILES]
    return next((kind for kind in _SHARED if any(map(kind.signs.search, signs))), None)


def _unified(
    reader: Reader, host: HostFacts, seen: tuple[_SharedChip, list[_Card]], notes: Notes
) -> Machine:
    kind, cards = seen
    if host.os == "linux":
        check_known(reader, kind.platform, notes)
    host, group_bytes = beyond_group(host, "CUDA's memory", notes)
    source = f"{host.available_source}, as it is now; swap is not counted"
    limit = host.available_bytes or 0
    if host.available_bytes is None:
        source = "unknown: the system does not tell how much memory is available"
    if host.os == "windows":
        share = int(host.memory_bytes * kind.windows_share)
        limit, source = min(limit, share), f"{source}; at most {kind.windows_share:.0%} of RAM"
    if 0 < limit < host.memory_bytes * _IDLE_SHARE:
        notes.warnings.append(_shortage(reader, host, limit))
        notes.advice.extend(_restart(reader, host, limit))
    cache = limit - (host.free_bytes or 0)
    if host.os == "linux" and host.free_bytes is not None and cache > _MUCH_CACHE_BYTES:
        notes.advice.append(
            Advice(
                "Drop the page cache before loading: CUDA can have only memory that is free, and "
                f"{size(cache)} are cache",
                "sudo sh -c 'sync; echo 3 > /proc/sys/vm/drop_caches'",
                "nothing to undo: the cache fills again by itself",
                purpose=Purpose.LOAD,
            )
        )
    own = [c for c in cards if kind.signs.search(c.name) or kind.signs.search(_cap(c))]
    left = [c for c in cards if own and c not in own and (c.total or 0) >= LEAST_BYTES]
    others = beside(host, Backend.CUDA, [_device(c) for c in left], _SOURCE)
    return replace(
        host.machine(),
        platform=kind.platform,
        name=kind.name,
        unified=True,
        backend=Backend.CUDA,
        limit_bytes=limit,
        limit_source=source,
        reserve_bytes=min(_SHARED_RESERVE_BYTES, limit),
        reserve_why="this machine hangs until power-cycled if memory runs out",
        devices=(Device(kind.name, Backend.CUDA, uuid=own[0].uuid if own else ""),),
        free_bytes=host.free_bytes,
        group_bytes=group_bytes,
        alternatives=others,
    )


def _cap(card: _Card) -> str:
    return f"cap {card.capability}"


def _shortage(reader: Reader, host: HostFacts, limit: int) -> str:
    """Return what holds the memory that is missing, as far as that is known, and the remedy."""
    only = f"Only {size(limit)} of {size(host.memory_bytes)} are available"
    held = _held(reader)
    if held:
        return f"{only}: programs on the GPU hold {size(held)}. Stop them and try again."
    hidden = host.hidden_bytes or 0
    if held is not None and hidden > _MUCH_HIDDEN_BYTES:
        return (
            f"{only}, and {size(hidden)} are held by no program: the driver has kept them since "
            "an engine stopped. Only a restart frees them."
        )
    return (
        f"{only}: {size(host.memory_bytes - limit)} are in use. Stop other engines and large "
        "programs; if the driver kept memory after an engine stopped, only a restart frees it."
    )


def _restart(reader: Reader, host: HostFacts, limit: int) -> list[Advice]:
    """Return the advice to restart where the driver holds memory of no program."""
    hidden = host.hidden_bytes or 0
    if host.os != "linux" or _held(reader) or hidden <= _MUCH_HIDDEN_BYTES:
        return []
    after = min(limit + hidden, host.memory_bytes - IDLE_SYSTEM_BYTES)
    return [
        Advice(
            f"Restart the computer: the driver holds {size(hidden)} for no program",
            "sudo reboot",
            limit_after=after if after > limit else None,
            restart=True,
        )
    ]


def _held(reader: Reader) -> int | None:
    """Return the bytes that programs hold on the GPU, None if nvidia-smi does not tell."""
    programs = _table(reader, *HELD_QUERY)
    if programs is None:
        return None
    known = [value for row in programs if (value := device_size(row[0], MIB)) is not None]
    return sum(known) if known or not programs else None


def _sliced(reader: Reader, cards: list[_Card]) -> set[str]:
    """Return the UUIDs of the cards that are cut into slices."""
    if all("GeForce" in card.name for card in cards):
        return set()
    return {row[0] for row in _table(reader, *MIG_QUERY) or () if row[1:] == ["Enabled"]}


def _discrete(reader: Reader, host: HostFacts, cards: list[_Card], notes: Notes) -> Machine | None:
    super_chips = [card for card in cards if _SUPERCHIP.search(card.name)]
    sliced = _sliced(reader, cards)
    chosen = []
    for card in super_chips or cards:
        if card.uuid and card.uuid in sliced:
            # What nvidia-smi gives is the whole card; an engine sees one slice of it.
            notes.unknown.append(f"memory of {card.name}")
            notes.warnings.append(
                f"{card.name} is cut into slices (MIG): an engine gets one, smaller than the card, "
                "and steprun cannot see how small. Off: sudo nvidia-smi -mig 0"
            )
            chosen.append(replace(card, total=None, free=None))
        elif card.total is None:
            notes.unknown.append(f"memory of {card.name}")
            notes.warnings.append(
                f"The memory of {card.name} cannot be read, so plans leave the card out."
            )
        elif card.total < LEAST_BYTES:
            notes.warnings.append(too_small(card.name, card.total))
        else:
            chosen.append(card)
    if not chosen:
        return None
    left = [c for c in cards if super_chips and c not in super_chips]
    left = [c for c in left if (c.total or 0) >= LEAST_BYTES and c.uuid not in sliced]
    free = sum(card.total if card.free is None else card.free for card in chosen if card.total)
    used = sum(card.total or 0 for card in chosen) - free
    if used > len(chosen) * GIB:
        notes.warnings.append(f"{size(used)} of the cards' memory is in use now.")
    own, memory = sum(card.total or 0 for card in chosen), host.memory_bytes
    if super_chips and host.available_bytes is not None and host.memory_bytes > own:
        # The system counts a superchip's own memory among its RAM (it is a NUMA node).
        rest = max(0, host.available_bytes - own)
        ram = host.memory_bytes - own
        host = replace(host, available_bytes=rest, system_bytes=rest, memory_bytes=ram)
    devices = [_device(card) for card in chosen]
    found = discrete(host, Platform.CUDA, Backend.CUDA, devices, _SOURCE)
    others = beside(host, Backend.CUDA, [_device(card) for card in left], _SOURCE)
    others = tuple(replace(other, memory_bytes=memory) for other in others)
    return replace(found, memory_bytes=memory, alternatives=others)


def _device(card: _Card) -> Device:
    return Device(card.name, Backend.CUDA, card.total, card.free, card.uuid, index=card.index)
