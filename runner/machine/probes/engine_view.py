"""Corrects a machine by what an engine lists: the output of `llama-server --list-devices`.

The probes read drivers and measured tables; an engine asks the device that it will compute on.
So its totals count, up to what the computer cannot exceed (`Machine.ceiling_bytes`).
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from runner.base.units import MIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import Backend, Device, Machine, Platform
from runner.machine.probes import cards
from runner.machine.probes.read import MOST_DEVICE_BYTES, stdout_of, strip_codes
from runner.machine.probes.vulkan_info import NO_DEVICE

COMMAND = ("llama-server", "--list-devices")
ON_PATH = "the llama-server on the PATH"

# How ggml's backends call their devices; those that steprun does not plan for (BLAS, RPC, SYCL)
# are left out of the list.
_BACKENDS = {
    "MTL": Backend.METAL,
    "Metal": Backend.METAL,
    "CUDA": Backend.CUDA,
    "ROCm": Backend.ROCM,
    "Vulkan": Backend.VULKAN,
}
# An engine with several backends lists one card several times: the first of these that lists it
# counts, by the backend that the machine is planned for.
_SPEAKING = {
    Backend.METAL: (Backend.METAL,),
    Backend.CUDA: (Backend.CUDA, Backend.VULKAN),
    Backend.VULKAN: (Backend.VULKAN, Backend.ROCM),
    Backend.ROCM: (Backend.ROCM, Backend.VULKAN),
    Backend.CPU: (),
}
_HEADER = "Available devices:"
_LINE = re.compile(
    rf"(?:^|\s)((?:{'|'.join(_BACKENDS)})[0-9]{{0,3}}): (.+) "
    r"\(([0-9]{1,9}) MiB, ([0-9]{1,9}) MiB free\)$"
)
_LONGEST_LINE = 400
_MOST_DEVICES = 64

# Shared memory is one figure, whoever reads it. CUDA shows of a card what its driver leaves:
# 11909 of 12288 and 24026 of 24467 MiB (ollama 16508), 1.8 to 3.1 % less than nvidia-smi.
_SHARED_TOLERANCE = 0.01
_CARD_TOLERANCE = 0.05
# Names of one device differ by who tells them: words that say nothing are left out. Where no
# other word is shared, and the totals are further apart than a tenth, two are not the same.
_EMPTY_WORDS = {"nvidia", "amd", "geforce", "rtx", "pro", "radeon", "tm", "r", "graphics"}
_UNLIKE = (0, -0.1)
# Mesa's names for the chip, which it may give in place of the product's.
_ALIASES = {Platform.STRIX_HALO: {"gfx1151", "strix"}}


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """One device in an engine's list, sizes in bytes."""

    engine_name: str
    backend: Backend
    name: str
    total: int
    free: int


def parse_devices(listing: str | None) -> tuple[ListedDevice, ...] | None:
    """Return the accelerators in an engine's list; None for anything else.

    Log lines before it do no harm. Devices that compute on the processor, and Vulkan on top of
    Direct3D (WSL2), are none.
    """
    lines = [strip_codes(line, _LONGEST_LINE) for line in (listing or "").splitlines()]
    found = [match for line in lines if (match := _LINE.search(line))][:_MOST_DEVICES]
    if not found and not any(line.endswith(_HEADER) for line in lines):
        return None
    return tuple(
        ListedDevice(
            engine_name=match[1],
            backend=_BACKENDS[match[1].rstrip("0123456789")],
            name=strip_codes(match[2]),
            total=int(match[3]) * MIB,
            free=min(int(match[3]), int(match[4])) * MIB,
        )
        for match in found
        if 0 < int(match[3]) * MIB <= MOST_DEVICE_BYTES and not NO_DEVICE.search(match[2])
    )


def lists(reader: Reader, backends: Collection[Backend]) -> tuple[ListedDevice, ...]:
    """Return what an engine on the PATH lists of these backends, where the drivers are silent."""
    return tuple(
        d for d in parse_devices(stdout_of(reader, *COMMAND)) or () if d.backend in backends
    )


def apply(machine: Machine, listing: str | None, engine: str = ON_PATH) -> Machine:
    """Return the machine corrected by an engine's device list; `engine` is what to call it.

    Nothing changes without a list, or on a machine without an accelerator. A list without this
    machine's accelerator changes no figure: another engine may use it.
    """
    listed = parse_devices(listing)
    if listed is None or not _SPEAKING[machine.backend]:
        return machine
    for backend in _SPEAKING[machine.backend]:
        matches = _match(machine, [seen for seen in listed if seen.backend is backend])
        if any(matches):
            correct = _shared if machine.unified else _discrete
            corrected = correct(machine, matches, engine)
            limit = corrected.limit_bytes
            advice = (a for a in machine.advice if a.limit_after is None or a.limit_after > limit)
            return replace(corrected, advice=tuple(advice))
    names = ", ".join(seen.name for seen in listed)
    what = (
        f"lists {names}, and not" if names else "computes on the processor only: it does not list"
    )
    return _warned(machine, f"{engine} {what} {machine.name}.")


def _warned(machine: Machine, *warnings: str) -> Machine:
    """Return the machine with more warnings, which may begin with an engine's name."""
    sentences = (warning[0].upper() + warning[1:] for warning in warnings)
    return replace(machine, warnings=(*machine.warnings, *sentences))


def _match(machine: Machine, listed: Sequence[ListedDevice]) -> list[ListedDevice | None]:
    """Return for each device of the machine what the engine lists for it, the likest first.

    Numbers cannot tell: CUDA, Vulkan and nvidia-smi count the same cards differently.
    """
    pairs = [
        (_likeness(machine, device, seen), (at, seen))
        for at, device in enumerate(machine.devices)
        for seen in listed
    ]
    matches: dict[int, ListedDevice] = {}
    for likeness, (at, seen) in sorted(pairs, key=lambda pair: pair[0], reverse=True):
        if likeness > _UNLIKE and at not in matches and seen not in matches.values():
            matches[at] = seen
    return [matches.get(at) for at in range(len(machine.devices))]


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower())) - _EMPTY_WORDS


def _likeness(machine: Machine, device: Device, seen: ListedDevice) -> tuple[int, float]:
    """Return how many words the names share, then how near the totals are (0 is equal)."""
    words = _words(seen.name)
    if machine.unified and not words:  # "AMD Radeon Graphics": any chip, and there is one
        return 0, 0.0
    expected = device.memory_bytes or (machine.memory_bytes if machine.unified else 0)
    off = abs(seen.total - expected) / max(expected, 1)
    own = _words(device.name) | _ALIASES.get(machine.platform, set())
    return len(own & words), -off


def _near(one: int, other: int, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * max(one, other)


def _shared(machine: Machine, matches: Sequence[ListedDevice | None], engine: str) -> Machine:
    """Correct the limit of memory that the system and the accelerator share."""
    seen = next(match for match in matches if match)
    known = machine.limit_bytes
    # Without a ceiling the limit is what is available now (GB10): the chip may well count more.
    fixed = machine.ceiling_bytes is not None
    ceiling = machine.ceiling_bytes if machine.ceiling_bytes is not None else known
    limit = min(seen.total, ceiling)
    agrees = any(_near(seen.total, value, _SHARED_TOLERANCE) for value in (known, ceiling))
    corrected = replace(
        machine,
        limit_bytes=limit,
        limit_source=machine.limit_source
        if limit == known
        else f"{seen.engine_name} in the device list of {engine}",
        reserve_bytes=min(machine.reserve_bytes, limit),
        devices=tuple(_named(machine, matches, limit)),
    )
    if not known or agrees or (seen.total > known and not fixed):
        return corrected
    return _warned(
        corrected,
        f"{engine} counts {size(seen.total)} of memory for {machine.name}, and steprun "
        f"{size(known)}: {size(limit)} are used.",
    )


def _named(
    machine: Machine, matches: Sequence[ListedDevice | None], limit: int
) -> Iterator[Device]:
    for device, seen in zip(machine.devices, matches, strict=True):
        # Where the driver tells no figure of its own (GB10), the device has none.
        memory = limit if device.memory_bytes is not None else None
        yield replace(device, engine_name=seen.engine_name, memory_bytes=memory) if seen else device


def _discrete(machine: Machine, matches: Sequence[ListedDevice | None], engine: str) -> Machine:
    """Correct the memory of each card, and leave out those that the engine does not list."""
    devices: list[Device] = []
    warnings: list[str] = []
    for device, seen in zip(machine.devices, matches, strict=True):
        if seen is None:
            warnings.append(f"{engine} does not list {device.name}: it is not counted.")
            continue
        known = device.memory_bytes
        total = seen.total if known is None else min(seen.total, known)
        if known is not None and not _near(seen.total, known, _CARD_TOLERANCE):
            warnings.append(
                f"{engine} counts {size(seen.total)} of memory for {device.name}, and its driver "
                f"{size(known)}: {size(total)} are used."
            )
        devices.append(
            replace(
                device,
                memory_bytes=total,
                free_bytes=min(seen.free, total),
                engine_name=seen.engine_name,
            )
        )
    corrected = replace(
        machine,
        name=cards.title(devices),
        limit_bytes=cards.total(devices),
        limit_source=cards.limit_source(devices, f"as listed by {engine}"),
        reserve_bytes=cards.reserve(devices),
        devices=tuple(devices),
    )
    return _warned(corrected, *warnings)
