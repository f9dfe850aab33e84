"""AMD under Linux: Strix Halo, whose graphics shares the system's memory, and discrete cards.

Everything comes from sysfs, which needs no ROCm and no rights. Windows is in `amd_windows`.
"""

import re
from dataclasses import dataclass

from runner.machine.capture import Reader
from runner.machine.cards import LEAST_BYTES, discrete
from runner.machine.facts import Advice, Backend, Device, Machine, Platform
from runner.machine.host import Host, Notes, display_ids, pairs
from runner.machine.read import GIB, clean, count, gib, size

# PCI 1002:1586 is shared by 8060S, 8050S and 8040S; gfx1151 is its exact engine version
# (1150, 1152 and 1103 are smaller chips).
STRIX_PCI = "1002:1586"
_STRIX_GFX = "110501"
STRIX_NAMES = {40: "Radeon 8060S", 32: "Radeon 8050S", 16: "Radeon 8040S"}  # by compute units

_PAGE_BYTES = 4096  # ttm counts x86 pages: 262144 of them are a GiB
# MemTotal must keep this for the system: 124 of 125 GiB kept GNOME from starting, 120 worked
# (ds4 16).
_SYSTEM_BYTES = 6 * GIB
# Screen, compositor and driver hold graphics memory too; a round figure, not a measured one.
_LEAST_RESERVE_BYTES = 1 * GIB
# A carve-out of this size was chosen in the firmware; below, it is the smallest the board offers
# (512 MB to 4 GiB), and ROCm counts only the shared part (llama.cpp PR 20472).
_LARGE_CARVE_OUT_BYTES = 8 * GIB
# 112 to 116 GiB are proven; over 95 % of RAM AMD's own tools advise against.
_GTT_TARGET_GIB = 116
_GTT_SHARE = 0.95
# Where the DKMS driver is installed its copy of the module is the one in use (ROCm 5595).
_TTM_MODULES = ("amdttm", "ttm")


@dataclass(frozen=True, slots=True)
class _Card:
    """An amdgpu card, sizes in bytes: its own memory, and the system memory it may map."""

    pci: str
    name: str
    vram: int | None
    vram_used: int
    gtt: int | None


@dataclass(frozen=True, slots=True)
class _Node:
    """A GPU as the compute driver lists it."""

    gfx: str
    units: int | None
    minor: int | None


def probe(reader: Reader, host: Host, notes: Notes) -> Machine | None:
    """Return the machine that AMD's graphics make of this Linux computer, or None."""
    if host.os != "linux":
        return None
    cards, nodes = _cards(reader), _nodes(reader)
    strix_node = next((node for node in nodes if node.gfx == _STRIX_GFX), None)
    strix_card = next((card for card in cards if card.pci == STRIX_PCI), None)
    if strix_node or strix_card or STRIX_PCI in (display_ids(reader, host.os) or ()):
        _check_rights(reader, strix_node.minor if strix_node else None, notes)
        return _strix(reader, host, strix_card, strix_node, notes)
    large = [card for card in cards if (card.vram or 0) >= LEAST_BYTES]
    if not large:
        return None
    _check_rights(reader, None, notes)
    return _discrete(reader, host, large)


def _cards(reader: Reader) -> list[_Card]:
    found = []
    for path in reader.glob("/sys/class/drm/card*/device/vendor"):
        folder = path.removesuffix("/vendor")
        # card1-HDMI-A-1 and its like are sockets; numbers vary from start to start.
        if not re.fullmatch(r"/sys/class/drm/card[0-9]+/device", folder):
            continue
        vendor = clean(reader.file(path)).lower().removeprefix("0x")
        if vendor != "1002":
            continue
        device = clean(reader.file(f"{folder}/device")).lower().removeprefix("0x")
        found.append(
            _Card(
                pci=f"{vendor}:{device}",
                name=clean(reader.file(f"{folder}/product_name")) or f"AMD [{vendor}:{device}]",
                vram=size(reader.file(f"{folder}/mem_info_vram_total")),
                vram_used=size(reader.file(f"{folder}/mem_info_vram_used")) or 0,
                gtt=size(reader.file(f"{folder}/mem_info_gtt_total")),
            )
        )
    return found


def _nodes(reader: Reader) -> list[_Node]:
    nodes = []
    for path in reader.glob("/sys/class/kfd/kfd/topology/nodes/*/properties"):
        values = pairs(reader.file(path), " ")
        simds = count(values.get("simd_count"))
        if simds:  # a processor is a node too, with none
            minor = count(values.get("drm_render_minor"))
            nodes.append(_Node(values.get("gfx_target_version", ""), simds // 2, minor))
    return nodes


def _check_rights(reader: Reader, minor: int | None, notes: Notes) -> None:
    """Warn if this user may not open the graphics devices: drivers then offer only the CPU."""
    render = reader.glob(f"/dev/dri/renderD{minor or '*'}")
    if not render:
        notes.unknown.append("/dev/dri")
    closed = [path for path in (*render, *reader.glob("/dev/kfd*")) if reader.file(path) is None]
    if closed:
        notes.warnings.append(
            f"This user may not open {' and '.join(closed)}: without it only the CPU is used."
        )
        notes.advice.append(
            Advice(
                "Let this user open the graphics devices; log in again afterwards",
                'sudo usermod -aG render,video "$USER"',
                'sudo gpasswd -d "$USER" render; sudo gpasswd -d "$USER" video',
            )
        )


def _strix(
    reader: Reader, host: Host, card: _Card | None, node: _Node | None, notes: Notes
) -> Machine:
    module, pages = _ttm(reader)
    carve_out = (card.vram if card else None) or 0
    counted = carve_out if carve_out >= _LARGE_CARVE_OUT_BYTES else 0
    shared, source = _shared(host, card, pages, notes)
    limit = counted + shared
    if counted:
        source = f"carve-out of {gib(counted)} and {source}"
    reserve = max(_LEAST_RESERVE_BYTES, shared - max(0, host.memory_bytes - _SYSTEM_BYTES))
    if host.available_bytes is not None and host.available_bytes < shared - reserve:
        notes.warnings.append(
            f"Only {gib(host.available_bytes)} of RAM is available now: close other programs."
        )
    if counted:
        notes.warnings.append(
            f"The firmware keeps {gib(counted)} for graphics alone; set its UMA size to the "
            "minimum (512 MB), then ask steprun again how far to raise the shared part."
        )
    else:
        notes.advice.extend(_raise_gtt(host, module, pages, shared))
    units = node.units if node else None
    label = STRIX_NAMES.get(units or 0)
    return Machine(
        platform=Platform.STRIX_HALO,
        name=f"AMD Strix Halo ({label})" if label else "AMD Strix Halo",
        os=host.os,
        arch=host.arch,
        memory_bytes=host.memory_bytes + carve_out if host.memory_bytes else 0,
        unified=True,
        backend=Backend.VULKAN,  # decodes faster than ROCm here; needs no ROCm either
        limit_bytes=limit,
        limit_source=source,
        reserve_bytes=min(reserve, limit),
        reserve_why=f"the system keeps {gib(_SYSTEM_BYTES)}, and the screen some graphics memory",
        cores=host.cores,
        available_bytes=host.available_bytes,
        devices=(Device(label or "Strix Halo", Backend.VULKAN, limit or None, cores=units),),
    )


def _ttm(reader: Reader) -> tuple[str, int | None]:
    """Return the module that limits shared graphics memory, and its limit in bytes."""
    for module in _TTM_MODULES:
        text = reader.file(f"/sys/module/{module}/parameters/pages_limit")
        if text is not None:
            return module, size(text, _PAGE_BYTES)
    return _TTM_MODULES[-1], None


def _shared(host: Host, card: _Card | None, pages: int | None, notes: Notes) -> tuple[int, str]:
    """Return the system memory that graphics may map, in bytes, and the figure's source.

    The least of GTT, ttm's limit and RAM: `amdgpu.gttsize` alone raises the first to more than
    ttm grants and the machine has (128 GiB of 124.9, unsloth PR 7960).
    """
    gtt = card.gtt if card else None
    if gtt is None:
        notes.unknown.append("mem_info_gtt_total")
    known = [
        (value, source)
        for value, source in (
            (gtt, "GTT (mem_info_gtt_total)"),
            (pages, "ttm.pages_limit"),
            (host.memory_bytes, "all RAM (MemTotal)"),
        )
        if value
    ]
    if gtt is None and pages is None and host.memory_bytes:
        return host.memory_bytes // 2, "half of RAM, the driver's default"
    return min(known, key=lambda pair: pair[0], default=(0, "unknown: amdgpu gave no answer"))


def _raise_gtt(host: Host, module: str, pages: int | None, shared: int) -> list[Advice]:
    """Return how to raise the shared part to what this machine can spare, if that is more."""
    if not host.memory_bytes:
        return []
    most = min(host.memory_bytes * _GTT_SHARE, host.memory_bytes - _SYSTEM_BYTES)
    target = min(_GTT_TARGET_GIB, int(most // GIB))
    if target * GIB < shared + GIB:
        return []
    file = "/etc/modprobe.d/zz-steprun.conf"  # zz: read last, so that it wins
    rebuild = "then rebuild the initramfs (update-initramfs -u, or dracut -f) and restart"
    before = f" ({gib(pages)} before)" if pages else ""
    return [
        Advice(
            f"Let graphics use {target} GiB of RAM{before}; {rebuild}",
            f"echo 'options {module} pages_limit={target * GIB // _PAGE_BYTES}' | sudo tee {file}",
            f"sudo rm {file}",
        )
    ]


def _discrete(reader: Reader, host: Host, cards: list[_Card]) -> Machine:
    rocm = any(reader.file(path) is not None for path in reader.glob("/dev/kfd*"))
    backend, platform = (Backend.ROCM, Platform.ROCM) if rocm else (Backend.VULKAN, Platform.VULKAN)
    devices = [
        Device(card.name, backend, card.vram, max(0, (card.vram or 0) - card.vram_used))
        for card in cards
    ]
    return discrete(host, platform, backend, devices, "as amdgpu reports it")
