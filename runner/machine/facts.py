"""What a computer is, as frozen facts. Pure: no I/O, no probing."""

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

SCHEMA = "steprun.machine/1"


# What the system needs beside an engine in main memory, where nothing larger is known to be
# needed: a desktop's own growth. Arithmetic, not a measurement.
PROCESSOR_RESERVE_BYTES = 2 << 30


def processor_reserve(limit: int) -> int:
    """Return how much of the main memory that can be had stays free, both in bytes.

    Half of it at the most: where little is free, a small model still counts by what it needs.
    """
    return min(PROCESSOR_RESERVE_BYTES, limit // 2)


# What the system of an idle computer holds of its RAM: an idle DGX Spark with its desktop 5.8 to
# 8.7 GiB (unsloth 10704, nvitop 208, nvtop 449), rounded up.
IDLE_SYSTEM_BYTES = 9 << 30
# How a `limit_source` ends where the limit counts what other programs use, too.
AS_IF_IDLE = ", as if idle"


class Platform(StrEnum):
    """The kinds of machine that steprun tells apart (`platform` in the JSON contract)."""

    APPLE = "apple"
    GB10 = "gb10"
    STRIX_HALO = "strix-halo"
    CUDA = "cuda"
    ROCM = "rocm"
    VULKAN = "vulkan"
    CPU = "cpu"


class Backend(StrEnum):
    """The ggml backends that steprun plans for."""

    METAL = "metal"
    CUDA = "cuda"
    VULKAN = "vulkan"
    ROCM = "rocm"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator. `memory_bytes` is None where the driver does not tell (GB10).

    `uuid` tells cards apart for certain, as their numbers depend on who counts. `cores` counts GPU
    cores (Apple) or compute units (AMD): one chip name may stand for two memory bandwidths.
    `index`: the driver's own number, by slot.
    `engine_name` is what an engine that was asked calls it (`CUDA0`), as its `--device` takes it.
    """

    name: str
    backend: Backend
    memory_bytes: int | None = None
    free_bytes: int | None = None
    uuid: str = ""
    cores: int | None = None
    engine_name: str = ""
    index: int | None = None


class Purpose(StrEnum):
    """What a change to the host is for.

    `ROOM`: more memory, worth it where more fits then. `LOAD`: memory that is free in the narrow
    sense, worth it before a load that needs it. `HEALTH`: worth it in any case.
    """

    ROOM = "room"
    LOAD = "load"
    HEALTH = "health"


@dataclass(frozen=True, slots=True)
class Advice:
    """A change to the host that would help: the exact command, and how to take it back.

    steprun never runs these by itself. `limit_after`, `reserve_after` and `ram_after`: what
    `Machine.limit_bytes`, its `reserve_bytes` and, beside cards, its main memory become by it; None
    where that is not known or does not change. `restart`: it takes effect only after a restart or a
    new login. `purpose`: what it is for, and so when it is worth being shown.
    """

    what: str
    command: str
    undo: str = ""
    limit_after: int | None = None
    reserve_after: int | None = None
    ram_after: int | None = None
    restart: bool = False
    purpose: Purpose = Purpose.ROOM


@dataclass(frozen=True, slots=True)
class Machine:
    """One computer, as far as it could be known.

    `memory_bytes`: all RAM that the system (and, on unified memory, the accelerator) shares.
    `limit_bytes`: the most that an engine may hold here in all, before the reserve that the
    ledger keeps back; `limit_source` says where the figure comes from.
    `reserve_bytes`: kept free for the system, with its reason.
    `ceiling_bytes`: what cannot be more, whatever an engine says of its device: the RAM, or what
    the kernel grants. None: `limit_bytes` itself.
    `apart_bytes`: a carve-out, which is part of the memory and not of what is available, and
    `apart_used_bytes` what is in use of one that the limit counts.
    `idle_bytes`: of main memory beside cards, what an engine may have while nothing else runs; None
    where `available_bytes` is all that is known. `free_bytes`: of a memory that CUDA shares, what
    is free without dropping the page cache. `group_bytes`: what a control group leaves this
    process, where the accelerator's memory is not counted there.
    `alternatives`: the other ways to use the devices of this computer, each a machine.
    `unknown` names every probe that gave no answer: unknown is never the same as absent.
    """

    platform: Platform
    name: str
    os: str  # "linux" | "macos" | "windows"
    arch: str  # "x86_64" | "arm64"
    memory_bytes: int
    unified: bool
    backend: Backend
    limit_bytes: int
    limit_source: str
    reserve_bytes: int
    reserve_why: str
    cores: int = 1
    available_bytes: int | None = None
    devices: tuple[Device, ...] = ()
    advice: tuple[Advice, ...] = ()
    warnings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = field(default=())
    ceiling_bytes: int | None = None
    apart_bytes: int = 0
    apart_used_bytes: int = 0
    idle_bytes: int | None = None
    free_bytes: int | None = None
    group_bytes: int | None = None
    alternatives: tuple["Machine", ...] = ()

    @property
    def free_now_bytes(self) -> int | None:
        """What an engine could have at this moment of the memory that it shares; None: unknown."""
        if self.available_bytes is None:
            return self.limit_bytes - self.apart_used_bytes if self.apart_used_bytes else None
        free = self.available_bytes + self.apart_bytes - self.apart_used_bytes
        # What is taken of a carve-out cannot be made up for by RAM that graphics may not map.
        most = self.limit_bytes - self.apart_used_bytes if self.apart_used_bytes else free
        return max(0, min(free, most))

    @property
    def main_memory_bytes(self) -> int | None:
        """What a plan may count on of main memory beside cards; None: unknown."""
        return self.available_bytes if self.idle_bytes is None else self.idle_bytes


def after(machine: Machine, advice: Advice) -> Machine | None:
    """Return the machine as it is after a change to the host; None where that is not known."""
    if advice.limit_after is None and advice.ram_after is None:
        return None
    limit = machine.limit_bytes if advice.limit_after is None else advice.limit_after
    reserve = machine.reserve_bytes if advice.reserve_after is None else advice.reserve_after
    ram = machine.idle_bytes if advice.ram_after is None else advice.ram_after
    return replace(machine, limit_bytes=limit, reserve_bytes=reserve, idle_bytes=ram)


def on_processor(machine: Machine) -> Machine:
    """Return the machine as an engine sees it that cannot use its accelerator.

    Only main memory counts then: a carve-out or a card's own memory is out of reach, and a plan
    made for them would freeze the machine.
    """
    if machine.backend is Backend.CPU:
        return machine
    room = machine.available_bytes
    if room is not None and machine.group_bytes is not None:
        room = min(room, machine.group_bytes)
    if room is None:
        room = machine.limit_bytes if machine.unified else 0
    limit = min(room, machine.limit_bytes) if machine.unified else room
    return replace(
        machine,
        backend=Backend.CPU,
        limit_bytes=limit,
        limit_source=f"main memory: this engine computes without {machine.backend}",
        reserve_bytes=max(min(limit, machine.reserve_bytes), processor_reserve(limit)),
        advice=(),
    )


def with_backend(machine: Machine, backend: Backend) -> Machine:
    """Return the machine as an engine of that backend computes on it.

    Whether such an engine could drive its devices is for the caller to know.
    """
    if backend is machine.backend:
        return machine
    if backend is Backend.CPU:
        return on_processor(machine)
    devices = tuple(replace(device, backend=backend) for device in machine.devices)
    return replace(machine, backend=backend, devices=devices)


def as_it_is_now(machine: Machine) -> Machine:
    """Return the machine with no more room than it has at this moment.

    A plan is made for an idle machine; an engine is started on one where other programs run.
    What macOS would have to compress of theirs cannot be told, so a Mac stays as it is. What is
    free of a card is so beside its driver's own use, and nothing is kept back for that again.
    """
    if machine.os == "macos":
        return machine
    whole = machine.limit_source.removesuffix(AS_IF_IDLE)
    if machine.unified:
        room = machine.free_now_bytes
        if room is None or room >= machine.limit_bytes:
            return machine
        source = f"{whole}; of that, what is available now"
        return replace(machine, limit_bytes=room, limit_source=source)
    each = machine.reserve_bytes // max(1, len(machine.devices))
    rooms = [max(0, (device.memory_bytes or 0) - each) for device in machine.devices]
    devices = tuple(
        replace(
            device,
            memory_bytes=min(room, room if device.free_bytes is None else device.free_bytes),
        )
        for device, room in zip(machine.devices, rooms, strict=True)
    )
    if machine.idle_bytes is not None and machine.available_bytes is not None:
        machine = replace(machine, idle_bytes=None)
    limit = sum(device.memory_bytes or 0 for device in devices)
    if limit == sum(rooms):
        return machine
    source = f"{whole}; of that, what is free now"
    return replace(
        machine, devices=devices, limit_bytes=limit, limit_source=source, reserve_bytes=0
    )


def to_json(machine: Machine) -> dict[str, Any]:
    """Return the document of `steprun machine --json`: sizes in bytes, unknown sizes null."""
    return {"schema": SCHEMA, **asdict(machine)}
