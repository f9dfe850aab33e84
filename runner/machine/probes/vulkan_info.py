"""Parses `vulkaninfo`: the memory heaps of each graphics device.

It comes with the graphics drivers into System32, and its keys are never translated. The heaps
together are what ggml's Vulkan backend calls a device's memory (llama.cpp PR 17122).
"""

import re
from dataclasses import dataclass, field

from runner.machine.probes.read import device_size, strip_codes

COMMAND = ("vulkaninfo",)

# The processor in disguise (llvmpipe, SwiftShader), or Vulkan on top of Direct3D (Dozen), which
# shows the ids of the card below it and binds 128 MiB at a time.
NO_DEVICE = re.compile(
    r"llvmpipe|lavapipe|SwiftShader|Microsoft Direct3D12|\bDozen\b", re.IGNORECASE
)
_REAL_TYPES = ("PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU", "PHYSICAL_DEVICE_TYPE_DISCRETE_GPU")
_NO_DRIVERS = ("DRIVER_ID_MESA_DOZEN", "DRIVER_ID_MESA_LLVMPIPE", "DRIVER_ID_GOOGLE_SWIFTSHADER")

_GPU = re.compile(r"GPU ?([0-9]{1,3}):?")
_HEAPS = re.compile(r"memoryHeaps: ?count ?= ?([0-9]{1,2})")
_HEAP = re.compile(r"memoryHeaps\[([0-9]{1,2})\] ?:? ?(.*)")
_PAIR = re.compile(r"([A-Za-z]+) ?[=:] ?(.+)")
_BYTES = re.compile(r"([0-9]{1,20})(?: ?\(.*)?")
_LONGEST_LINE = 400


@dataclass(slots=True)
class _Device:
    properties: dict[str, str] = field(default_factory=dict)
    number_of_heaps: int | None = None
    heaps: dict[int, int | None] = field(default_factory=dict)


def heap_bytes(text: str | None, pci: str) -> int | None:
    """Return the heaps of a graphics device together, by PCI id as `1002:1586`, or None.

    A device that is listed twice, as two drivers may do, counts once, with the lesser sum.
    """
    sums = [_sum(device) for device in _devices(text or "") if _is(device, pci)]
    return min((value for value in sums if value is not None), default=None)


def _devices(text: str) -> list[_Device]:
    found: dict[str, _Device] = {}
    device, heap = _Device(), -1
    for raw in text.splitlines():
        line = strip_codes(raw, _LONGEST_LINE)
        if match := _GPU.fullmatch(line):
            # Each device comes twice: in a summary, and then in full.
            device, heap = found.setdefault(match[1], _Device()), -1
        elif match := _HEAPS.fullmatch(line):
            device.number_of_heaps = int(match[1])
        elif line.startswith("memoryTypes"):
            heap = -1
        else:
            if match := _HEAP.fullmatch(line):
                heap, line = int(match[1]), match[2]
            match = _PAIR.fullmatch(line)
            if match is None:
                continue
            if heap < 0:
                device.properties.setdefault(match[1], match[2])
            elif match[1] == "size":
                whole = _BYTES.fullmatch(match[2])
                device.heaps.setdefault(heap, device_size(whole[1]) if whole else None)
    return list(found.values())


def _is(device: _Device, pci: str) -> bool:
    properties = device.properties
    ids = [properties.get(key, "").lower().removeprefix("0x") for key in ("vendorID", "deviceID")]
    return (
        ":".join(ids) == pci
        and properties.get("deviceType") in _REAL_TYPES
        and properties.get("driverID") not in _NO_DRIVERS
        and not NO_DEVICE.search(properties.get("deviceName", ""))
    )


def _sum(device: _Device) -> int | None:
    """Return the heaps together; None where one is missing or makes no sense."""
    heaps = list(device.heaps.values())
    known = [value for value in heaps if value is not None]
    wanted = len(heaps) if device.number_of_heaps is None else device.number_of_heaps
    return sum(known) if known and len(known) == wanted else None
