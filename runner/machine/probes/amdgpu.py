"""Reads the AMD driver's sysfs files under Linux: cards, compute nodes, and access rights.

It needs no ROCm and no rights.
"""

import re
from dataclasses import dataclass

from runner.machine.captures.capture import Reader
from runner.machine.facts import Advice, Purpose
from runner.machine.probes.host import Notes
from runner.machine.probes.read import count, device_size, pairs, strip_codes


@dataclass(frozen=True, slots=True)
class Card:
    """An amdgpu card, sizes in bytes: its own memory, and the system memory it may map."""

    pci: str
    name: str
    vram: int | None
    vram_used: int
    gtt: int | None
    gtt_used: int


@dataclass(frozen=True, slots=True)
class Node:
    """A GPU as the compute driver lists it."""

    gfx: str
    units: int | None
    minor: int | None


def cards(reader: Reader) -> list[Card]:
    """Return the cards of amdgpu."""
    found = []
    for path in reader.glob("/sys/class/drm/card*/device/vendor"):
        folder = path.removesuffix("/vendor")
        # card1-HDMI-A-1 and its like are sockets; numbers vary from start to start.
        if not re.fullmatch(r"/sys/class/drm/card[0-9]+/device", folder):
            continue
        vendor = strip_codes(reader.file(path)).lower().removeprefix("0x")
        if vendor != "1002":
            continue
        device = strip_codes(reader.file(f"{folder}/device")).lower().removeprefix("0x")
        pci = f"{vendor}:{device}"
        name = strip_codes(reader.file(f"{folder}/product_name")) or f"AMD [{pci}]"
        vram, vram_used, gtt, gtt_used = (
            device_size(reader.file(f"{folder}/mem_info_{what}"))
            for what in ("vram_total", "vram_used", "gtt_total", "gtt_used")
        )
        found.append(Card(pci, name, vram, vram_used or 0, gtt, gtt_used or 0))
    return found


def nodes(reader: Reader) -> list[Node]:
    """Return the GPUs among the nodes of the compute driver."""
    found = []
    for path in reader.glob("/sys/class/kfd/kfd/topology/nodes/*/properties"):
        values = pairs(reader.file(path), " ")
        simds = count(values.get("simd_count"))
        if simds:  # a processor is a node too, with none
            minor = count(values.get("drm_render_minor"))
            found.append(Node(values.get("gfx_target_version", ""), simds // 2, minor))
    return found


def check_rights(reader: Reader, minor: int | None, notes: Notes) -> None:
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
                "Allow this user to open the graphics devices, then log in again",
                'sudo usermod -aG render,video "$USER"',
                'sudo gpasswd -d "$USER" render; sudo gpasswd -d "$USER" video',
                restart=True,
                purpose=Purpose.HEALTH,
            )
        )
