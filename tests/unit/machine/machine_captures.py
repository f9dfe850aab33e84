"""Captures of known machines, built by hand: what the tests of `runner.machine` replay."""

import json
from collections.abc import Mapping
from typing import Any

from runner.base.units import GIB, MIB
from runner.machine.captures.capture import Capture, Ran
from runner.machine.probes.host import WINDOWS_ADAPTERS, WINDOWS_HOST
from runner.machine.probes.nvidia import QUERIES

Files = Mapping[str, str | None]
PCI = "/sys/bus/pci/devices/0000:01:00.0/uevent"


def smi(fields: tuple[str, ...] = QUERIES[0]) -> str:
    return f"nvidia-smi --query-gpu={','.join(fields)} --format=csv,noheader,nounits"


def meminfo(total: int, available: int | None = None, free: int | None = None, **more: int) -> str:
    figures = {"MemTotal": total, "MemFree": free, "MemAvailable": available, **more}
    return "".join(f"{key}:{n:>16} kB\n" for key, n in figures.items() if n is not None)


def linux(
    memory: str,
    *cards: str,
    arch: str = "x86_64",
    query: tuple[str, ...] = QUERIES[0],
    pci: str = "",
    files: Files | None = None,
) -> Capture:
    """Build a Linux machine; `cards` are lines of nvidia-smi, `files` further files."""
    commands = {smi(query): Ran(0, "".join(f"{card}\n" for card in cards))} if cards else {}
    pci = pci or ("10DE:2204" if cards else "8086:4680")
    seen: dict[str, str | None] = {"/proc/meminfo": memory, PCI: f"PCI_CLASS=30000\nPCI_ID={pci}\n"}
    return Capture(f"linux-{arch}", seen | dict(files or {}), commands)


def mac(
    ram_gib: int,
    name: str = "Apple M4 Max",
    *,
    wired: str = "0",
    macos: str = "26.1",
    cores: int | None = None,
    commands: dict[str, Ran] | None = None,
) -> Capture:
    answers = {
        "hw.memsize": str(ram_gib * GIB),
        "machdep.cpu.brand_string": name,
        "iogpu.wired_limit_mb": wired,
        "kern.osproductversion": macos,
        "hw.optional.arm64": "1",
        "hw.physicalcpu": "16",
    }
    ran = {f"sysctl -n {key}": Ran(0, f"{value}\n") for key, value in answers.items() if value}
    if cores:
        text = f'+-o AGXAcceleratorG16X  <class AGXAcceleratorG16X>\n  "gpu-core-count" = {cores}\n'
        ran["ioreg -rc AGXAccelerator"] = Ran(0, text)
    return Capture("darwin-arm64", {}, ran | (commands or {}))


def strix(
    total_kib: int, vram: int, gtt: int, pages: int | None = None, files: Files | None = None
) -> Capture:
    """Build a Strix Halo under Linux; sizes in bytes, `pages` of 4 KiB."""
    node = "/sys/class/kfd/kfd/topology/nodes"
    card = "/sys/class/drm/card1/device"
    found: dict[str, str | None] = {
        "/proc/meminfo": meminfo(total_kib),
        PCI: "PCI_CLASS=38000\nPCI_ID=1002:1586\n",
        f"{node}/0/properties": "cpu_cores_count 32\nsimd_count 0\ngfx_target_version 0\n",
        f"{node}/1/properties": "simd_count 80\ngfx_target_version 110501\nvendor_id 4098\n"
        "device_id 5510\ndrm_render_minor 128\n",
        f"{card}/vendor": "0x1002\n",
        f"{card}/device": "0x1586\n",
        f"{card}/mem_info_vram_total": f"{vram}\n",
        f"{card}/mem_info_gtt_total": f"{gtt}\n",
        "/dev/dri/renderD128": "",
        "/dev/kfd": "",
    }
    if pages:
        found["/sys/module/ttm/parameters/pages_limit"] = f"{pages}\n"
    return Capture("linux-x86_64", found | dict(files or {}), {})


def windows(
    visible_gib: float, *registry: tuple[str, str, Any, str], present: list[Any] | None = None
) -> Capture:
    """Build a Windows computer; `registry` rows are (name, id, qwMemorySize, driver)."""
    host = {
        "total_kib": int(visible_gib * MIB),
        "free_kib": int(0.9 * visible_gib * MIB),
        "cores": 16.0,
        "cpu": "AMD RYZEN AI MAX+ 395 w/ Radeon 8060S",
        "arch": 9,
    }
    keys = [{"name": n, "id": i, "qw": q, "dw": None, "driver": d} for n, i, q, d in registry]
    shown = [{"name": row["name"], "id": row["id"]} for row in keys] if present is None else present
    answer = {"present": shown, "registry": keys}
    return Capture(
        "win32-AMD64",
        {},
        {
            " ".join(WINDOWS_HOST): Ran(0, json.dumps(host)),
            " ".join(WINDOWS_ADAPTERS): Ran(0, json.dumps(answer)),
        },
    )


RADEON = "AMD Radeon(TM) 8060S Graphics"
STRIX_ID = "PCI\\VEN_1002&DEV_1586&SUBSYS_1C3E1D05&REV_C1"
DRIVER = "32.0.31041.1004"

GB10_IDLE = meminfo(127600524, 111584904, 99159460)
GB10_CARD = "NVIDIA GB10, GPU-00000000-0000-0000-0000-000000000000, [N/A], [N/A], 12.1, 580.173.02"
ADA = "GPU-11111111-1111-1111-1111-111111111111"
BLACK = "GPU-33333333-3333-3333-3333-333333333333"
HOST_128 = meminfo(131_000_000, 120_000_000, 90_000_000)
