"""AMD under Windows: Strix Halo and discrete cards, as the registry and Vulkan know them.

`Win32_VideoController.AdapterRAM` has 32 bits and is wrong from 4 GiB on: it is not read. The
registry's qwMemorySize has 64; on Strix Halo it is the carve-out alone. What graphics can use in
all there, `vulkaninfo` tells; where it does not answer, it follows from the carve-out and the RAM
that Windows sees.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from runner.base.toml import Strict, read_toml
from runner.base.units import GIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import Advice, Backend, Device, Machine, Platform, Purpose
from runner.machine.probes import strix, vulkan_info
from runner.machine.probes.cards import beside, discrete, large
from runner.machine.probes.host import WINDOWS_ADAPTERS, HostFacts, Notes, display_ids, pci_id
from runner.machine.probes.read import device_size, document, rows, stdout_of, strip_codes, text_of

_NEAR_GIB = 1.0
# Half of the RAM: of 128 GB graphics get 0.2 GiB less so than with 96 GB, and the processor, which
# cannot use the carve-out, keeps enough to load a model through (Lemonade's advice).
_LARGE_RAM_BYTES = 120 * GIB
_NEWEST = (1 << 30,)
_SOURCE = "from qwMemorySize in the registry"

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
        strix_halo = _strix(reader, host, found, notes)
        others = beside(host, Backend.VULKAN, _cards(adapters, notes), _SOURCE)
        return replace(strix_halo, alternatives=others)
    cards = _cards(adapters, notes)
    return discrete(host, Platform.VULKAN, Backend.VULKAN, cards, _SOURCE) if cards else None


def _cards(adapters: Sequence[_Adapter], notes: Notes) -> list[Device]:
    """Return AMD's cards with memory of their own."""
    amd = [a for a in adapters if a.pci.startswith("1002:") and a.pci != strix.PCI]
    return large((Device(card.name, Backend.VULKAN, card.memory) for card in amd), notes)


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
    driver = adapter.driver if adapter else ()
    heaps = vulkan_info.heap_bytes(stdout_of(reader, *vulkan_info.COMMAND), strix.PCI)
    if heaps is None:
        notes.unknown.append("vulkaninfo")
        limit, source = _heaps(carve_out, host.memory_bytes, driver)
    else:
        driver = ()
        limit, source = min(heaps, ceiling), "the sum of Vulkan's memory heaps in vulkaninfo"
    notes.advice.extend(_advise(carve_out, host, limit, driver))
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


class _Most(Strict, frozen=True):
    carve_out_gib: float
    total_gib: float


class _Driver(Strict, frozen=True):
    """What drivers from a version on give; the file describes the fields."""

    since: tuple[int, ...]
    source: str
    share_of_ram: float
    measured: tuple[tuple[float, float, float], ...] = ()
    most: tuple[_Most, ...] = ()


class _Drivers(Strict, frozen=True):
    driver: tuple[_Driver, ...]


@cache
def _drivers() -> tuple[_Driver, ...]:
    path = Path(__file__).with_name("windows_drivers.toml")
    return read_toml(path, _Drivers, "the list of AMD's drivers").driver


def _heaps(carve_out: int, visible: int, version: tuple[int, ...]) -> tuple[int, str]:
    """Return the sum of the Vulkan heaps in bytes, and where the figure comes from."""
    driver = next(each for each in _drivers() if version >= each.since or each.since == (0,))
    for dedicated, ram, total in driver.measured:
        near = abs(carve_out / GIB - dedicated), abs(visible / GIB - ram)
        if max(near) <= _NEAR_GIB:
            return int(total * GIB), (
                f"graphics memory with a carve-out of {dedicated:g} GiB, measured: {driver.source}"
            )
    share = int(visible * driver.share_of_ram)
    if not carve_out:
        # It does not follow from the RAM that Windows sees: 64 GiB may be half, or all there is.
        return share, (
            f"{driver.share_of_ram:.0%} of the RAM that Windows sees; the carve-out is unknown"
        )
    most = next((m.total_gib for m in driver.most if carve_out <= m.carve_out_gib * GIB), None)
    if most is not None and carve_out + share > most * GIB:
        return int(most * GIB), (
            f"the most that this driver is known to give with a carve-out of {size(carve_out)}: "
            f"{driver.source}"
        )
    return carve_out + share, (
        f"carve-out of {size(carve_out)} and {driver.share_of_ram:.0%} of RAM; not measured for "
        "this size"
    )


def _advise(carve_out: int, host: HostFacts, limit: int, version: tuple[int, ...]) -> list[Advice]:
    """Return what gives graphics more: a newer driver, and half of the computer's memory.

    `version`: the driver's; empty where it does not matter, as vulkaninfo told the limit.
    """
    physical = carve_out + host.memory_bytes
    chosen = f"{round(2 * carve_out / GIB) / 2:g}"  # as AMD Software shows it: 0.5 GB, 64 GB
    newest = _drivers()[0].since
    found = []
    after, _ = _heaps(carve_out, host.memory_bytes, _NEWEST)
    if version and version < newest and after > limit:
        wanted = ".".join(map(str, newest))
        found.append(
            Advice(
                f"Update AMD's driver: from {wanted} on graphics get {size(after)} here",
                "AMD Software > Settings > System > Manage Updates, then restart",
                "Windows Device Manager > Display adapters > Driver > Roll Back Driver",
                limit_after=after,
                restart=True,
            )
        )
    best = round(physical / GIB / 32) * 16
    if not carve_out or physical < _LARGE_RAM_BYTES or chosen == f"{best}":
        return found
    after, _ = _heaps(best * GIB, physical - best * GIB, version or _NEWEST)
    setting = "AMD Software > Performance > Tuning > Variable Graphics Memory"
    more = after > limit + GIB
    found.append(
        Advice(
            f"Give graphics {best} GB of their own ({chosen} now): they can use nearly all of the "
            "rest too, and loading a model needs RAM that Windows sees",
            f"{setting}: {best} GB, then restart",
            f"{setting}: {chosen} GB, then restart",
            limit_after=after if more else None,
            restart=True,
            purpose=Purpose.ROOM if more else Purpose.HEALTH,
        )
    )
    return found
