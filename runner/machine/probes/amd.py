"""AMD under Linux: whether it is Strix Halo (`strix`) or cards with memory of their own.

Windows is in `amd_windows`.
"""

import re
from dataclasses import replace

from runner.machine.captures.capture import Reader
from runner.machine.facts import Backend, Device, Machine, Platform
from runner.machine.probes import amdgpu, engine_view, strix, wsl
from runner.machine.probes.cards import beside, discrete, large
from runner.machine.probes.host import HostFacts, Notes, display_ids

# Vega 10 and 20, and Navi 10 to 48, in the id list of Linux's amdgpu; the graphics inside
# processors have other ids.
_SOURCE = "as amdgpu reports it"
_CARD_IDS = re.compile(r"1002:(?:6[68]|7[345])[0-9a-f]{2}")


def probe(reader: Reader, host: HostFacts, notes: Notes) -> Machine | None:
    """Return the machine that AMD's graphics make of this Linux computer, or None."""
    if host.os != "linux":
        return None
    cards, nodes = amdgpu.cards(reader), amdgpu.nodes(reader)
    seen = display_ids(reader, host.os) or []
    node = next((node for node in nodes if node.gfx == strix.GFX), None)
    card = next((card for card in cards if card.pci == strix.PCI), None)
    if node or card or strix.PCI in seen or _is_strix(reader, host):
        backend, _ = _driver(reader)
        left = large((_device(c, backend) for c in cards if c is not card), notes)
        others = beside(host, backend, left, _SOURCE)
        return replace(strix.machine(reader, host, (card, node), notes), alternatives=others)
    if not cards and any(map(_CARD_IDS.match, seen)):
        notes.unknown.append("amdgpu")
        notes.warnings.append(
            "An AMD card is present, but amdgpu does not answer: is the driver loaded?"
        )
    backend, platform = _driver(reader)
    devices = large((_device(card, backend) for card in cards), notes)
    if not devices:
        return None
    amdgpu.check_rights(reader, None, notes)
    return discrete(host, platform, backend, devices, _SOURCE)


def _driver(reader: Reader) -> tuple[Backend, Platform]:
    rocm = any(reader.file(path) is not None for path in reader.glob("/dev/kfd*"))
    return (Backend.ROCM, Platform.ROCM) if rocm else (Backend.VULKAN, Platform.VULKAN)


def _device(card: amdgpu.Card, backend: Backend) -> Device:
    return Device(card.name, backend, card.vram, max(0, (card.vram or 0) - card.vram_used))


def _is_strix(reader: Reader, host: HostFacts) -> bool:
    """Whether the processor's name or an engine says so, where the drivers tell nothing."""
    if wsl.inside(reader, host):
        return False
    listed = engine_view.lists(reader, {Backend.VULKAN, Backend.ROCM})
    names = (host.cpu, *(device.name for device in listed))
    return any(map(strix.SIGNS.search, names))
