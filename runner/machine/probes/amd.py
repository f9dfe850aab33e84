"""AMD under Linux: whether it is Strix Halo (`strix`) or cards with memory of their own.

Windows is in `amd_windows`.
"""

import re

from runner.base.units import GIB
from runner.machine.captures.capture import Reader
from runner.machine.facts import Backend, Device, Machine, Platform
from runner.machine.probes import amdgpu, engine_view, strix, wsl
from runner.machine.probes.cards import LEAST_BYTES, discrete, too_small
from runner.machine.probes.host import HostFacts, Notes, display_ids

# No card has less than this: it is the graphics inside a desktop processor, not worth a warning.
_INSIDE_BYTES = 1 * GIB
# Vega 10 and 20, and Navi 10 to 48, in the id list of Linux's amdgpu; the graphics inside
# processors have other ids.
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
        left = [other.name for other in cards if other is not card and _is_large(other)]
        notes.warnings.extend(f"{name} is not counted: a plan is for one of them." for name in left)
        return strix.machine(reader, host, (card, node), notes)
    if not cards and any(map(_CARD_IDS.match, seen)):
        notes.unknown.append("amdgpu")
        notes.warnings.append(
            "An AMD card is present, but amdgpu does not answer: is the driver loaded?"
        )
    large = [card for card in cards if _is_large(card)]
    notes.warnings.extend(
        too_small(card.name, card.vram)
        for card in cards
        if card.vram and _INSIDE_BYTES <= card.vram < LEAST_BYTES
    )
    if not large:
        return None
    amdgpu.check_rights(reader, None, notes)
    return _discrete(reader, host, large)


def _is_strix(reader: Reader, host: HostFacts) -> bool:
    """Whether the processor's name or an engine says so, where the drivers tell nothing."""
    if wsl.inside(reader, host):
        return False
    listed = engine_view.lists(reader, {Backend.VULKAN, Backend.ROCM})
    names = (host.cpu, *(device.name for device in listed))
    return any(map(strix.SIGNS.search, names))


def _is_large(card: amdgpu.Card) -> bool:
    return (card.vram or 0) >= LEAST_BYTES


def _discrete(reader: Reader, host: HostFacts, cards: list[amdgpu.Card]) -> Machine:
    rocm = any(reader.file(path) is not None for path in reader.glob("/dev/kfd*"))
    backend, platform = (Backend.ROCM, Platform.ROCM) if rocm else (Backend.VULKAN, Platform.VULKAN)
    devices = [
        Device(card.name, backend, card.vram, max(0, (card.vram or 0) - card.vram_used))
        for card in cards
    ]
    return discrete(host, platform, backend, devices, "as amdgpu reports it")
