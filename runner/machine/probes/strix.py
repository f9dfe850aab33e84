"""Strix Halo under Linux: graphics that share the system's memory, as far as the kernel grants."""

import re
from dataclasses import dataclass, replace

from runner.base.units import GIB, MIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import AS_IF_IDLE, Advice, Backend, Device, Machine, Platform
from runner.machine.probes import boot, cgroup
from runner.machine.probes.amdgpu import Card, Node, check_rights
from runner.machine.probes.host import HostFacts, Notes, beyond_group
from runner.machine.probes.known_trouble import check_known
from runner.machine.probes.read import parse_size, strip_codes

# PCI 1002:1586 is shared by 8060S, 8050S and 8040S; gfx1151 is its exact engine version
# (1150, 1152 and 1103 are smaller chips).
PCI = "1002:1586"
GFX = "110501"
SIGNS = re.compile(r"RYZEN AI MAX|\b80[456]0S\b|gfx1151|STRIX.HALO", re.IGNORECASE)
NAMES = {40: "Radeon 8060S", 32: "Radeon 8050S", 16: "Radeon 8040S"}  # by compute units
# The largest computers with a chip of this line; a carve-out that makes it more is not believed.
MOST_MEMORY_BYTES = 192 * GIB

_PAGE_BYTES = 4096  # ttm counts x86 pages: 262144 of them are a GiB
# MemTotal must keep this for the system: 124 of 125 GiB kept GNOME from starting, 120 worked
# (ds4 16).
_SYSTEM_BYTES = 6 * GIB
# Screen, compositor and driver hold graphics memory too; a round figure, not a measured one.
_LEAST_RESERVE_BYTES = 1 * GIB
# A carve-out of this size was chosen in the firmware; below, it is the smallest the board offers
# (512 MB to 4 GiB), and ROCm counts only the shared part (llama.cpp PR 20472).
_LARGE_CARVE_OUT_BYTES = 8 * GIB
# Of 128 GB 112 to 116 GiB are known to work; over 95 % of RAM AMD's own tools advise against.
_GTT_TARGET_GIB = 116
_KNOWN_RAM_BYTES = 128 * GIB
_GTT_SHARE = 0.95
# The least that boards let the firmware keep for graphics.
_LEAST_CARVE_OUT_BYTES = GIB // 2
# Where the DKMS driver is installed its copy of the module is the one in use (ROCm 5595).
_TTM_MODULES = ("amdttm", "ttm")
_SAME = 0.01  # the driver's own defaults for GTT and ttm differ by a page or so
# Beyond this, memory that nothing owns up to is worth a word: idle machines show 1 to 2 GiB, a
# hang of the GPU lost 35 (halogen 79).
_MUCH_HIDDEN_BYTES = 8 * GIB


@dataclass(frozen=True, slots=True)
class _SharedMemory:
    """How much system memory graphics may map, in bytes, and who says so.

    The least of GTT, ttm's limit and RAM: `amdgpu.gttsize` alone raises the first to more than
    ttm grants and the machine has (128 GiB of 124.9, unsloth PR 7960). `granted`: what the kernel
    grants, whatever RAM there is.
    """

    bytes: int
    source: str
    module: str
    pages: int | None
    granted: int | None = None


def machine(
    reader: Reader, host: HostFacts, seen: tuple[Card | None, Node | None], notes: Notes
) -> Machine:
    """Return the Strix Halo, as its card and its compute node tell, each where there is one."""
    card, node = seen
    host, group_bytes = beyond_group(host, "Memory that graphics map", notes)
    check_known(reader, Platform.STRIX_HALO, notes)
    check_rights(reader, node.minor if node else None, notes)
    if not reader.glob("/dev/kfd*"):
        notes.warnings.append("/dev/kfd is missing: ROCm cannot run, but Vulkan can.")
    carve_out = _carve_out(host, card, notes)
    counted = carve_out if carve_out >= _LARGE_CARVE_OUT_BYTES else 0
    shared = _shared(reader, host, card, notes)
    limit, source = counted + shared.bytes, f"{shared.source}{AS_IF_IDLE}"
    if counted:
        source = f"carve-out of {size(counted)} and {source}"
        notes.warnings.append(
            f"The firmware keeps {size(counted)} for graphics alone by its UMA size: the system "
            "cannot use them."
        )
    notes.advice.extend(_raise_limit(reader, host, shared, counted))
    reserve = _reserve(shared.bytes, host.memory_bytes)
    _check_available(host, card, shared.bytes - reserve, notes)
    units = node.units if node else None
    label = NAMES.get(units or 0)
    return replace(
        host.machine(),
        platform=Platform.STRIX_HALO,
        name=f"AMD Strix Halo ({label})" if label else "AMD Strix Halo",
        memory_bytes=host.memory_bytes + carve_out if host.memory_bytes else 0,
        unified=True,
        backend=Backend.VULKAN,  # decodes faster than ROCm here; needs no ROCm either
        limit_bytes=limit,
        limit_source=source,
        reserve_bytes=min(reserve, limit),
        reserve_why=f"the system keeps {size(_SYSTEM_BYTES)}, and the screen some graphics memory",
        apart_bytes=carve_out,
        apart_used_bytes=min(card.vram_used, counted) if card else 0,
        devices=(Device(label or "Strix Halo", Backend.VULKAN, limit or None, cores=units),),
        # Vulkan counts the smallest carve-out too, ROCm does not.
        ceiling_bytes=carve_out + shared.bytes,
        group_bytes=group_bytes,
    )


def _carve_out(host: HostFacts, card: Card | None, notes: Notes) -> int:
    carve_out = (card.vram if card else None) or 0
    if carve_out >= _LARGE_CARVE_OUT_BYTES and carve_out + host.memory_bytes > MOST_MEMORY_BYTES:
        notes.unknown.append("carve-out")
        notes.warnings.append(
            f"The driver reports {size(carve_out)} of graphics memory beside "
            f"{size(host.memory_bytes)} of RAM, more than this chip can have: not counted."
        )
        return 0
    return carve_out


def _check_available(host: HostFacts, card: Card | None, wanted: int, notes: Notes) -> None:
    """Warn of RAM that the limit counts and that is not there now."""
    if host.available_bytes is not None and host.available_bytes < wanted:
        notes.warnings.append(
            f"Only {size(host.available_bytes)} of RAM is available now: close other programs."
        )
    hidden = (host.hidden_bytes or 0) - (card.gtt_used if card else 0)
    if hidden > _MUCH_HIDDEN_BYTES:
        notes.warnings.append(
            f"{size(hidden)} of RAM belong to no program and to no graphics buffer. An engine on "
            "ROCm looks like that; if none is running, the driver lost them after the GPU hung, "
            "and a restart of the computer frees them."
        )


def _shared(reader: Reader, host: HostFacts, card: Card | None, notes: Notes) -> _SharedMemory:
    module, pages = _ttm(reader)
    gtt = card.gtt if card else None
    if gtt is None:
        notes.unknown.append("mem_info_gtt_total")
    if gtt is None and pages is None:
        half = host.memory_bytes // 2
        source = "half of RAM, the driver's default" if half else "unknown: amdgpu gave no answer"
        return _SharedMemory(half, source, module, None)
    if gtt and pages and abs(gtt - pages) > _SAME * max(gtt, pages):
        old = " amdgpu.gttsize is deprecated: remove it where it is set." if gtt > pages else ""
        notes.warnings.append(
            f"GTT is {size(gtt)} and {module}.pages_limit grants {size(pages)}: the smaller counts."
            + old
        )
    grants = (
        (gtt, "GTT, mem_info_gtt_total"),
        (pages, f"{module}.pages_limit"),
        (
            host.memory_bytes or MOST_MEMORY_BYTES,
            host.group.source if host.group and host.group.whole else "all RAM, MemTotal",
        ),
    )
    known = [(value, source) for value, source in grants if value]
    least, source = min(known, key=lambda pair: pair[0])
    granted = min((value for value in (gtt, pages) if value), default=None)
    return _SharedMemory(least, source, module, pages, granted)


def _ttm(reader: Reader) -> tuple[str, int | None]:
    """Return the module that limits shared graphics memory, and its limit in bytes."""
    for module in _TTM_MODULES:
        text = reader.file(f"/sys/module/{module}/parameters/pages_limit")
        if text is not None:
            return module, parse_size(text, _PAGE_BYTES)
    return _TTM_MODULES[-1], None


def _raise_limit(
    reader: Reader, host: HostFacts, shared: _SharedMemory, carve_out: int
) -> list[Advice]:
    """Return how to let graphics use all that this computer can spare, if that is more.

    `carve_out`: what the firmware keeps, where that is more than the least that it must.
    """
    group = host.group
    if group is not None and group.whole:
        return _raise_group(reader, group, shared)
    memory = host.memory_bytes + max(0, carve_out - _LEAST_CARVE_OUT_BYTES)
    target = _target(memory)
    if not host.memory_bytes or target < shared.bytes + carve_out + GIB:
        return []
    pages = target // _PAGE_BYTES
    option, value = f"{shared.module}.pages_limit", pages
    line = boot.on_command_line(reader)
    size_mib = int(line.get("amdgpu.gttsize", 0))
    small = ["amdgpu.gttsize"] if size_mib * MIB < target else []
    if shared.pages is not None and shared.pages >= target:
        # ttm grants it already: older kernels (6.8) hold GTT down on their own (kyuz0 98).
        option, value, small = "amdgpu.gttsize", target // MIB, []
    kind = group.kind if group and cgroup.is_container(group) else cgroup.container(reader)
    change = boot.set_option(reader, option, value, remove=small, inside=kind is not None)
    first = f"On the host of this {kind}: let" if kind else "Let"
    if carve_out:
        less = f"Set the firmware's UMA size to its minimum (512 MB; {size(carve_out)} now) and "
        first = less + first[0].lower() + first[1:]
    what = f"{first} graphics use {target // GIB} GiB of RAM ({size(shared.bytes)} now); "
    return [
        Advice(
            f"{what}{change.how}",
            change.command,
            change.undo,
            limit_after=target,
            reserve_after=_reserve(target, memory),
            restart=True,
        )
    ]


def _target(memory: int) -> int:
    """Return the most that graphics should map of so much RAM, in whole GiB, as bytes."""
    most = int(min(memory * _GTT_SHARE, memory - _SYSTEM_BYTES) // GIB)
    return (min(_GTT_TARGET_GIB, most) if memory <= _KNOWN_RAM_BYTES else most) * GIB


def _raise_group(reader: Reader, group: cgroup.Group, shared: _SharedMemory) -> list[Advice]:
    """Return how to give a container, which hides the host's RAM, what the host's kernel grants."""
    if shared.granted is None or shared.granted < shared.bytes + GIB:
        return []
    target = min(shared.granted, _GTT_TARGET_GIB * GIB)
    if shared.granted > _KNOWN_RAM_BYTES:
        target = shared.granted
    wanted = target + _SYSTEM_BYTES  # what the container then shows as its RAM
    limit = min(shared.granted, wanted)
    proxmox = "-pve" in strip_codes(reader.file("/proc/sys/kernel/osrelease"))
    raised = group.advice(proxmox=proxmox, wanted=wanted)
    return [replace(raised, limit_after=limit, reserve_after=_reserve(limit, wanted))]


def _reserve(shared: int, memory: int) -> int:
    """Return what to keep back where graphics may map `shared` of so much RAM."""
    return max(_LEAST_RESERVE_BYTES, shared - max(0, memory - _SYSTEM_BYTES))
