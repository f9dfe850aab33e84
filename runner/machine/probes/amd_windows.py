"""AMD under Windows: Strix Halo and discrete cards, as the registry and Vulkan know them.

`Win32_VideoController.AdapterRAM` has 32 bits and is wrong from 4 GiB on: it is not read. The
registry's qwMemorySize has 64; on Strix Halo it is the carve-out alone. What graphics can use in
all there, `vulkaninfo` tells; where it does not answer, it follows from the carve-out and the RAM
that Windows sees.
"""

import re
from dataclasses import dataclass, replace

from runner.base.units import GIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import Advice, Backend, Device, Machine, Platform
from runner.machine.probes import strix, vulkan_info
from runner.machine.probes.cards import discrete, large
from runner.machine.probes.host import WINDOWS_ADAPTERS, HostFacts, Notes, display_ids, pci_id
from runner.machine.probes.read import device_size, document, rows, stdout_of, strip_codes, text_of

# Measured on 128 GB with driver 32.0.31041.1004 (unsloth PR 10418): carve-out, RAM that Windows
# sees, and the sum of the Vulkan heaps, in GiB.
_HEAPS = ((32, 95.78, 108.62), (64, 63.65, 111.65), (96, 31.78, 111.89))
_HEAPS_DRIVER = (32, 0, 31041)
_NEAR_GIB = 1.0
# Drivers of 2025, and Windows in general, lend graphics half of the RAM (64 + 32 GiB,
# llama.cpp 16832).
_SHARE_OF_RAM = 0.5
# Of 128 GB, half and half: graphics get 0.2 GiB less than with 96, and the processor, which cannot
# use the carve-out, keeps enough to load a model through (Lemonade's advice).
_BEST_CARVE_OUT_GIB = 64
_LARGE_RAM_BYTES = 120 * GIB

# The desktop, a browser and the driver live in the same heaps, and Windows evicts whoever is larger
# when they run full. Arithmetic, not a measurement.
_RESERVE_BYTES = 3 * GIB


@dataclass(frozen=True, slots=True)
class _Adapter:
    pci: str
    name: str
    memory: int | None
    driver: tuple[int, ...]


def probe(reader: Reader, host: HostFacts, notes: Notes) -> Machine | None:
    """Return the machine that AMD's graphics make of this Windows computer, or None."""
    if host.os != "windows":
        return None
    answer = document(stdout_of(reader, *WINDOWS_ADAPTERS))
    if not isinstance(answer, dict):
        notes.unknown.append("display adapters")
        return None
    present = display_ids(reader, host.os)
    known = [_adapter(row) for row in rows(answer.get("registry"))]
    adapters = [adapter for adapter in known if not present or adapter.pci in present]
    if strix.PCI in (present or ()) or any(adapter.pci == strix.PCI for adapter in adapters):
        found = next((a for a in adapters if a.pci == strix.PCI and a.memory), None)
        return _strix(reader, host, found, notes)
    amd = [adapter for adapter in adapters if adapter.pci.startswith("1002:")]
    cards = large((Device(card.name, Backend.VULKAN, card.memory) for card in amd), notes)
    if not cards:
        return None
    source = "from the registry (qwMemorySize)"
    return discrete(host, Platform.VULKAN, Backend.VULKAN, cards, source)


def _adapter(row: dict[str, object]) -> _Adapter:
    driver = re.findall(r"[0-9]{1,9}", text_of(row.get("driver")))
    return _Adapter(
        pci=pci_id(row),
        name=strip_codes(text_of(row.get("name"))) or "AMD graphics",
        memory=_registry_size(row.get("qw")) or _registry_size(row.get("dw")),
        driver=tuple(int(part) for part in driver[:4]),
    )


def _registry_size(value: object) -> int | None:
    """Return a registry value in bytes: a number, a negative 32-bit number, or raw bytes."""
    if isinstance(value, list):
        small = [part for part in value if isinstance(part, int) and 0 <= part <= 255]
        whole = len(small) == len(value) <= 8
        return device_size(str(int.from_bytes(bytes(small), "little"))) if whole else None
    text = text_of(value)
    negative = re.fullmatch(r"-[0-9]{1,10}", text)
    return device_size(str(int(text) + (1 << 32)) if negative else text)


def _strix(reader: Reader, host: HostFacts, adapter: _Adapter | None, notes: Notes) -> Machine:
    carve_out = (adapter.memory if adapter else None) or 0
    if carve_out + host.memory_bytes > strix.MOST_MEMORY_BYTES:
        carve_out = 0  # more than this chip can have: the registry is wrong
    if not carve_out:
        notes.unknown.append("carve-out")
    physical = host.memory_bytes + carve_out if host.memory_bytes else 0
    # Without the carve-out the RAM that Windows sees is only a part.
    ceiling = physical if physical and carve_out else strix.MOST_MEMORY_BYTES
    heaps = vulkan_info.heap_bytes(stdout_of(reader, *vulkan_info.COMMAND), strix.PCI)
    if heaps is None:
        notes.unknown.append("vulkaninfo")
        driver = adapter.driver if adapter else ()
        limit, source = _heaps(carve_out, host.memory_bytes, driver)
    else:
        limit, source = min(heaps, ceiling), "the sum of Vulkan's memory heaps (vulkaninfo)"
    _advise(carve_out, physical, notes)
    name = adapter.name if adapter else "Strix Halo"
    return replace(
        host.machine(),
        platform=Platform.STRIX_HALO,
        name=f"AMD Strix Halo ({name})" if adapter else "AMD Strix Halo",
        memory_bytes=max(physical, limit),
        unified=True,
        backend=Backend.VULKAN,
        limit_bytes=limit,
        limit_source=source,
        reserve_bytes=min(_RESERVE_BYTES, limit),
        reserve_why="the screen and the driver use graphics memory too",
        apart_bytes=carve_out,
        devices=(Device(name, Backend.VULKAN, limit or None),),
        ceiling_bytes=ceiling,
    )


def _heaps(carve_out: int, visible: int, driver: tuple[int, ...]) -> tuple[int, str]:
    """Return the sum of the Vulkan heaps in bytes, and where the figure comes from."""
    if driver >= _HEAPS_DRIVER:
        for dedicated, ram, total in _HEAPS:
            near = abs(carve_out / GIB - dedicated), abs(visible / GIB - ram)
            if max(near) <= _NEAR_GIB:
                return int(total * GIB), (
                    f"graphics memory with a carve-out of {dedicated} GiB, measured (unsloth 10418)"
                )
    if not carve_out:
        # It does not follow from the RAM that Windows sees: 64 GiB may be half, or all there is.
        return int(visible * _SHARE_OF_RAM), (
            f"{_SHARE_OF_RAM:.0%} of the RAM that Windows sees; the carve-out is unknown"
        )
    return carve_out + int(visible * _SHARE_OF_RAM), (
        f"carve-out of {size(carve_out)} and {_SHARE_OF_RAM:.0%} of RAM; not measured for this size"
    )


def _advise(carve_out: int, physical: int, notes: Notes) -> None:
    """Advise half and half where the computer is large enough for it."""
    chosen = round(carve_out / GIB)
    if not carve_out or physical < _LARGE_RAM_BYTES or chosen == _BEST_CARVE_OUT_GIB:
        return
    setting = "AMD Software > Performance > Tuning > Variable Graphics Memory"
    notes.advice.append(
        Advice(
            f"Give graphics {_BEST_CARVE_OUT_GIB} GB of their own ({chosen} now): they can use "
            "nearly all of the rest too, and loading a model needs RAM that Windows sees",
            f"{setting}: {_BEST_CARVE_OUT_GIB} GB, then restart",
            f"{setting}: {chosen} GB, then restart",
            restart=True,
        )
    )
