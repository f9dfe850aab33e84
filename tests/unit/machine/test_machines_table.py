"""Every machine that anybody published figures of, and every preset: what it is taken for.

Beside each row stands where its figures come from. A row whose sample is no whole machine lays the
sample over the preset that it completes. `python -m tests.unit.machine.test_machines_table` prints
what each row gets now, in the form of PLANS below.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from runner.base.units import GIB, MIB
from runner.cli.commands.plan import plan
from runner.machine.captures import presets
from runner.machine.captures.capture import Capture, Ran, Replay, save
from runner.machine.facts import Machine
from runner.machine.probe import detect

QUERY = "nvidia-smi --query-gpu="
DRM = "/sys/class/drm/card1/device"
NODE = "/sys/class/kfd/kfd/topology/nodes/1/properties"
TTM = "/sys/module/ttm/parameters/pages_limit"
BOARD = {"/sys/class/dmi/id/product_name": "NVIDIA_DGX_Spark\n"}
SPARK_IDLE = "MemTotal: 127600748 kB\nMemAvailable: 118566368 kB\n"
PC_128 = "MemTotal: 131800000 kB\nMemAvailable: 126000000 kB\n"
RADEON = "AMD Radeon(TM) 8060S Graphics"
STRIX = "PCI\\VEN_1002&DEV_1586&SUBSYS_1C3E1D05&REV_C1\\4&2"

Lines = Mapping[str, str]


class Row(NamedTuple):
    name: str
    source: str
    capture: Capture
    platform: str
    unified: bool
    backend: str
    limit_gib: float


def ran(commands: Lines) -> dict[str, Ran | None]:
    return {argv: Ran(0, out) for argv, out in commands.items()}


def linux(meminfo: str, commands: Lines, files: Lines | None = None, arch: str = "x86_64"):
    seen: dict[str, str | None] = {"/proc/meminfo": meminfo, **(files or {})}
    return Capture(f"linux-{arch}", seen, ran(commands))


def mac(ram_gib: int, chip: str, wired: int = 0, macos: str = "26.1", **commands: str) -> Capture:
    sysctl = (
        f"hw.memsize: {ram_gib * GIB}\nmachdep.cpu.brand_string: {chip}\n"
        f"iogpu.wired_limit_mb: {wired}\nkern.osproductversion: {macos}\n"
    )
    return Capture("darwin-arm64", {}, ran({"sysctl -a": sysctl, **commands}))


def windows(visible_gib: float, *adapters: Mapping[str, object]) -> Capture:
    system = {"TotalVisibleMemorySize": int(visible_gib * MIB), "FreePhysicalMemory": 20 * MIB}
    return Capture(
        "win32-AMD64",
        {},
        ran(
            {
                "powershell Get-CimInstance Win32_OperatingSystem | ConvertTo-Json": json.dumps(
                    system
                ),
                "powershell Get-ItemProperty HKLM:... | ConvertTo-Json": json.dumps(adapters),
            }
        ),
    )


def over(preset: str, files: Mapping[str, str | None] | None = None, **meminfo: int) -> Capture:
    """Return a preset with other files, and with other lines of /proc/meminfo (kB)."""
    base = presets.load_preset(preset)
    memory = "".join(f"{key}: {value} kB\n" for key, value in meminfo.items())
    changed = {"/proc/meminfo": memory} if memory else {}
    return replace(base, files={**base.files, **(files or {}), **changed})


def answering(preset: str, argv: str, out: str) -> Capture:
    """Return a preset on which one more command answered."""
    base = presets.load_preset(preset)
    return replace(base, commands={**base.commands, argv: Ran(0, out)})


def strix(vram: int, gtt: int, **meminfo: int) -> Capture:
    """Return a Strix Halo under Linux with other sizes, in bytes and kB."""
    files = {
        f"{DRM}/mem_info_vram_total": str(vram),
        f"{DRM}/mem_info_gtt_total": str(gtt),
        TTM: str(gtt // 4096),
    }
    return over("strix-halo-linux", files, **meminfo)


def preset(
    name: str, platform: str, limit_gib: float, *, unified: bool = True, backend: str = ""
) -> Row:
    usual = {"apple": "metal", "strix-halo": "vulkan", "gb10": "cuda"}.get(platform, platform)
    source = presets.about(name)
    return Row(
        name, source, presets.load_preset(name), platform, unified, backend or usual, limit_gib
    )


PRESETS = [
    preset("m1-8", "apple", 5.33),
    preset("m2-max-96", "apple", 72.0),
    preset("m2-ultra-192", "apple", 161.3),
    preset("m3-ultra-96", "apple", 72.0),
    preset("m3-ultra-256", "apple", 215.0),
    preset("m3-ultra-512", "apple", 464.0),
    preset("m4-max-64", "apple", 48.0),
    preset("m4-max-128", "apple", 107.52),
    preset("m4-max-128-wired", "apple", 114.0),
    preset("m5-max-128", "apple", 107.52),
    preset("dgx-spark", "gb10", 113.07),
    preset("dgx-spark-desktop", "gb10", 106.42),
    preset("dgx-spark-loaded", "gb10", 7.13),
    preset("n1x", "gb10", 98.1),
    preset("thor", "cuda", 107.10),
    preset("orin-64", "cuda", 57.7),
    preset("strix-halo-linux", "strix-halo", 116.0),
    preset("strix-halo-linux-112", "strix-halo", 112.0),
    preset("strix-halo-linux-stock", "strix-halo", 62.47),
    preset("strix-halo-linux-carve-out", "strix-halo", 111.24),
    preset("strix-halo-windows", "strix-halo", 111.65),
    preset("strix-halo-windows-96", "strix-halo", 111.89),
    preset("gb300", "cuda", 250.69, unified=False),
    preset("5090-128", "cuda", 31.84, unified=False),
    preset("4x5090", "cuda", 127.37, unified=False),
    preset("8x5090", "cuda", 254.74, unified=False),
    preset("4x48", "cuda", 191.95, unified=False),
    preset("pro6000-128", "cuda", 95.59, unified=False),
    preset("mixed-5090-pro6000", "cuda", 127.44, unified=False),
    preset("wsl2-5090", "cuda", 31.84, unified=False),
    preset("r9700-4x", "rocm", 119.44, unified=False),
    preset("cpu-24", "cpu", 22.65, unified=False),
    preset("cpu-128", "cpu", 122.5, unified=False),
    preset("cpu-256", "cpu", 246.0, unified=False),
]

# Named after the file of the samples that the figures were retyped from.
SAMPLES = [
    Row("apple_m1_8gb_sysctl", "public record: Mac mini M1 8 GB, macOS 26.3.2; values verbatim",
        Capture("darwin-arm64", {}, ran({"sysctl hw.memsize hw.model iogpu":
        "hw.memsize            = 8589934592\nhw.model              = Macmini9,1\n"
        "iogpu.wired_limit_mb  = 0\niogpu.wired_lwm_mb    = 0\niogpu.dynamic_lwm     = 1\n"})),
        "apple", True, "metal", 5.33),
    Row("apple_m4max128_llama_list_devices", "public record: llama-server --list-devices, stock "
        "limit; verbatim in part", answering("m4-max-128", "llama-server --list-devices",
        "ggml_metal_device_init: GPU name:   MTL0\nggml_metal_device_init: has unified memory    = "
        "true\nggml_metal_device_init: recommendedMaxWorkingSetSize  = 115448.73 MB\n"
        "Available devices:\n  MTL0: Apple M4 Max (110100 MiB, 110100 MiB free)\n"
        "  BLAS: Accelerate (0 MiB, 0 MiB free)\n"), "apple", True, "metal", 107.52),
    Row("apple_m5_system_profiler", "public record (a test): Apple M5, 10 cores; RAM not told",
        Capture("darwin-arm64", {}, ran({"system_profiler SPDisplaysDataType -json": json.dumps(
        {"SPDisplaysDataType": [{"_name": "Apple M5", "spdisplays_vendor": "sppci_vendor_Apple",
        "sppci_bus": "spdisplays_builtin", "sppci_cores": "10", "sppci_model": "Apple M5"}]})})),
        "apple", True, "metal", 0.0),
    Row("apple_m5max48_ggml", "llama.cpp PR 16634: M5 Max 48 GB, 40200.90 MB", mac(48,
        "Apple M5 Max"), "apple", True, "metal", 37.44),
    Row("apple_recommended_max_table, M2 Max 32", "llama.cpp 3213: 21845.34 MB", mac(32,
        "Apple M2 Max", macos="14.1"), "apple", True, "metal", 21.33),
    Row("apple_recommended_max_table, M5 Max 128 raised", "ds4 893: 112.00 GiB with 114688",
        mac(128, "Apple M5 Max", wired=114688), "apple", True, "metal", 112.0),
    Row("gb10_container_name", "llmfit's comment: GB10's name in Docker; no board, no bus there",
        linux(SPARK_IDLE, {f"{QUERY}name --format=csv,noheader":
        "NVIDIA Corporation Device [10de:2e12] (rev a1)\n"}, arch="aarch64"),
        "gb10", True, "cuda", 113.07),
    Row("gb10_meminfo_swap_in_use", "public record (cluster probe): 8 GiB swapped; MemFree looks "
        "rounded", over("dgx-spark", MemTotal=127600752, MemFree=6291456, MemAvailable=13945856,
        SwapTotal=16777212, SwapFree=8290872), "gb10", True, "cuda", 13.30),
    Row("gb10_nvidia_smi_q_fb", "nvtop PR 466: excerpt of nvidia-smi -q, driver 580.142",
        linux(SPARK_IDLE, {"nvidia-smi -q": "    FB Memory Usage\n        Total : N/A\n"
        "        Used  : N/A\n        Free  : N/A\n"}, BOARD), "gb10", True, "cuda", 113.07),
    Row("gb10_nvidia_smi_query_cc", "public record: name, driver, compute_cap; verbatim",
        linux(SPARK_IDLE, {f"{QUERY}name,driver_version,compute_cap --format=csv,noheader":
        "NVIDIA GB10, 580.173.02, 12.1\n"}), "gb10", True, "cuda", 113.07),
    Row("gb10_nvidia_smi_query_inventory", "public record (Go hardware test): UUID zeroed",
        linux(SPARK_IDLE, {f"{QUERY}index,name,uuid,pci.bus_id,memory.total,driver_version,"
        "power.limit --format=csv,noheader": "0, NVIDIA GB10, "
        "GPU-00000000-0000-0000-0000-000000000000, 0000000F:01:00.0, [N/A], 580.178.04, [N/A]\n"}),
        "gb10", True, "cuda", 113.07),
    Row("gb10_nvidia_smi_query_mem", "nvitop PR 208: csv with a header and without a name",
        linux(SPARK_IDLE, {f"{QUERY}memory.total,memory.used,memory.free,utilization.gpu,"
        "power.draw,temperature.gpu --format=csv": "memory.total [MiB], memory.used [MiB], "
        "memory.free [MiB], utilization.gpu [%], power.draw [W], temperature.gpu\n"
        "[N/A], [N/A], [N/A], 0 %, 11.17 W, 35\n"}, BOARD), "gb10", True, "cuda", 113.07),
    Row("gb10_nvidia_smi_table", "ArcticTraining PR 345: plain nvidia-smi, driver 580.126.09",
        linux(SPARK_IDLE, {"nvidia-smi":
        "|   0  NVIDIA GB10                    On  |   0000000F:01:00.0 Off |        N/A |\n"
        "| N/A   36C    P8              3W /  N/A  | Not Supported          | 0% Default |\n"}),
        "gb10", True, "cuda", 113.07),
    Row("gb10_pagecache_vs_cudafree, after 60 GB", "unsloth PR 10704: MemFree 41.52 GiB",
        over("dgx-spark", MemTotal=127600748, MemFree=int(41.52 * MIB), MemAvailable=int(
        115.65 * MIB)), "gb10", True, "cuda", 115.65),
    Row("gb300_station_nvidia_smi", "NemoClaw 9901; the free column is a test's filler",
        linux(PC_128, {f"{QUERY}name,memory.total,memory.free --format=csv,noheader,nounits":
        "NVIDIA GB300, 256703, 250000\n"}), "cuda", False, "cuda", 250.69),
    Row("rtx5090_4x_nvidia_smi", "public record: 4x RTX 5090 under gpu_burn; verbatim",
        linux(PC_128, {f"{QUERY}index,name,utilization.gpu,memory.used,memory.total,"
        "temperature.gpu --format=csv,noheader,nounits": "".join(
        f"{n}, NVIDIA GeForce RTX 5090, 100, 31809, 32607, {46 - n}\n" for n in range(4))}),
        "cuda", False, "cuda", 127.37),
    Row("strix_amd_ttm_variants, 96", "ollama 13681: 96 GiB of 122.84", strix(512 * MIB, 96 * GIB,
        MemTotal=int(122.84 * MIB)), "strix-halo", True, "vulkan", 96.0),
    Row("strix_amd_ttm_variants, 124", "ds4 16: 124 GiB of 125.02; the desktop did not start",
        strix(512 * MIB, 124 * GIB, MemTotal=int(125.02 * MIB)), "strix-halo", True, "vulkan",
        124.0),
    Row("strix_aurora_lspci", "public record: [1002:1586] on the bus, no driver beside it",
        linux("MemTotal: 127098456 kB\n", {}, {"/sys/bus/pci/devices/0000:c6:00.0/uevent":
        "PCI_CLASS=38000\nPCI_ID=1002:1586\n"}), "strix-halo", True, "vulkan", 60.6),
    Row("strix_dmesg_variants, 108000M", "memtest_vulkan 66: 512M of VRAM, 108000M of GTT",
        strix(512 * MIB, 108000 * MIB, MemTotal=int(125.02 * MIB)), "strix-halo", True, "vulkan",
        105.47),
    Row("strix_hip_meminfo", "llama.cpp PR 20472: ttm at 120 GiB, MemAvailable 89 GiB",
        strix(2 * GIB, 122880 * MIB, MemTotal=127098456, MemAvailable=89 * MIB), "strix-halo",
        True, "vulkan", 120.0),
    Row("strix_windows_adapters", "public record (a test): AdapterRAM is 2^32-1, no registry",
        windows(63.65, {"name": RADEON, "pnp": STRIX, "ram": 4294967295}), "strix-halo", True,
        "vulkan", 31.82),
    Row("strix_windows_vgm_measured, 32", "unsloth PR 10418: 32 GiB carve-out; driver as told",
        windows(95.78, {"DriverDesc": RADEON, "PNPDeviceID": STRIX, "DriverVersion":
        "32.0.31041.1004", "HardwareInformation.qwMemorySize": 32 * GIB}), "strix-halo", True,
        "vulkan", 108.62),
    Row("windows_registry_qwmemorysize", "llmfit tests: Radeon PRO V710 and R9700, qwMemorySize",
        windows(64, {"DriverDesc": "AMD Radeon PRO V710", "MatchingDeviceId": "PCI\\VEN_1002&"
        "DEV_7461", "qwMemorySize": 30064771072}, {"DriverDesc": "AMD Radeon AI PRO R9700",
        "MatchingDeviceId": "PCI\\VEN_1002&DEV_7551", "qwMemorySize": 34359738368}), "vulkan",
        False, "vulkan", 60.0),
    Row("windows_wmi_adapterram_saturated", "llmfit test, oshi 2521: 32 bits, so no size at all",
        windows(64, {"Name": "AMD Radeon AI PRO R9700", "PNPDeviceID": "PCI\\VEN_1002&DEV_7551",
        "AdapterRAM": 4293918720}, {"Name": "NVIDIA GeForce RTX 4090", "PNPDeviceID":
        "PCI\\VEN_10DE&DEV_2684", "AdapterRAM": 4293918720}), "cpu", False, "cpu", 20.0),
]  # fmt: skip

ROWS = {row.name: row for row in (*PRESETS, *SAMPLES)}

# What the planner gives each of them: verdict, quant, context.
PLANS: dict[str, tuple[str, str, int]] = {
    "m1-8": ("refused", "IQ3_XXS", 32_768),
    "m2-max-96": ("refused", "IQ3_XXS", 32_768),
    "m2-ultra-192": ("fits", "UD-Q5_K_M", 262_144),
    "m3-ultra-96": ("refused", "IQ3_XXS", 32_768),
    "m3-ultra-256": ("fits", "Q8_0", 262_144),
    "m3-ultra-512": ("fits", "Q8_0", 262_144),
    "m4-max-64": ("refused", "IQ3_XXS", 32_768),
    "m4-max-128": ("fits", "IQ4_XS", 73_728),
    "m4-max-128-wired": ("fits", "Q4_K_S", 81_920),
    "m5-max-128": ("fits", "IQ4_XS", 73_728),
    "dgx-spark": ("fits", "IQ4_XS", 98_304),
    "dgx-spark-desktop": ("fits", "UD-IQ4_XS", 172_032),
    "dgx-spark-loaded": ("refused", "IQ3_XXS", 32_768),
    "n1x": ("fits", "UD-Q3_K_XL", 81_920),
    "thor": ("fits", "UD-IQ4_XS", 188_416),
    "orin-64": ("refused", "IQ3_XXS", 32_768),
    "strix-halo-linux": ("fits", "Q4_K_S", 212_992),
    "strix-halo-linux-112": ("fits", "Q4_K_S", 65_536),
    "strix-halo-linux-stock": ("refused", "IQ3_XXS", 32_768),
    "strix-halo-linux-carve-out": ("fits", "Q4_K_S", 49_152),
    "strix-halo-windows": ("fits", "IQ4_XS", 196_608),
    "strix-halo-windows-96": ("fits", "IQ4_XS", 204_800),
    "gb300": ("fits", "Q8_0", 262_144),
    "5090-128": ("fits", "Q4_K_S", 262_144),
    "4x5090": ("fits", "Q4_K_S", 163_840),
    "8x5090": ("fits", "Q8_0", 172_032),
    "4x48": ("fits", "UD-Q6_K", 262_144),
    "pro6000-128": ("fits", "Q4_K_S", 262_144),
    "mixed-5090-pro6000": ("fits", "Q4_K_S", 262_144),
    "wsl2-5090": ("fits", "UD-IQ3_S", 245_760),
    "r9700-4x": ("fits", "Q4_K_S", 65_536),
    "cpu-24": ("refused", "IQ3_XXS", 32_768),
    "cpu-128": ("fits", "Q4_K_S", 262_144),
    "cpu-256": ("fits", "Q8_0", 262_144),
    "apple_m1_8gb_sysctl": ("refused", "IQ3_XXS", 32_768),
    "apple_m4max128_llama_list_devices": ("fits", "IQ4_XS", 73_728),
    "apple_m5_system_profiler": ("refused", "IQ3_XXS", 32_768),
    "apple_m5max48_ggml": ("refused", "IQ3_XXS", 32_768),
    "apple_recommended_max_table, M2 Max 32": ("refused", "IQ3_XXS", 32_768),
    "apple_recommended_max_table, M5 Max 128 raised": ("fits", "Q4_K_S", 40_960),
    "gb10_container_name": ("fits", "IQ4_XS", 98_304),
    "gb10_meminfo_swap_in_use": ("refused", "IQ3_XXS", 32_768),
    "gb10_nvidia_smi_q_fb": ("fits", "IQ4_XS", 98_304),
    "gb10_nvidia_smi_query_cc": ("fits", "IQ4_XS", 98_304),
    "gb10_nvidia_smi_query_inventory": ("fits", "IQ4_XS", 98_304),
    "gb10_nvidia_smi_query_mem": ("fits", "IQ4_XS", 98_304),
    "gb10_nvidia_smi_table": ("fits", "IQ4_XS", 98_304),
    "gb10_pagecache_vs_cudafree, after 60 GB": ("fits", "IQ4_XS", 180_224),
    "gb300_station_nvidia_smi": ("fits", "Q8_0", 262_144),
    "rtx5090_4x_nvidia_smi": ("fits", "Q4_K_S", 163_840),
    "strix_amd_ttm_variants, 96": ("fits", "UD-IQ4_XS", 40_960),
    "strix_amd_ttm_variants, 124": ("fits", "Q4_K_S", 262_144),
    "strix_aurora_lspci": ("refused", "IQ3_XXS", 32_768),
    "strix_dmesg_variants, 108000M": ("fits", "IQ4_XS", 57_344),
    "strix_hip_meminfo": ("fits", "Q4_K_S", 221_184),
    "strix_windows_adapters": ("refused", "IQ3_XXS", 32_768),
    "strix_windows_vgm_measured, 32": ("fits", "IQ4_XS", 81_920),
    "windows_registry_qwmemorysize": ("fits", "IQ4_XS", 114_688),
    "windows_wmi_adapterram_saturated": ("refused", "IQ3_XXS", 32_768),
}


class Part(NamedTuple):
    """A sample that completes a row: what it says of that machine, and the same as found."""

    file: str
    row: str
    says: object
    found: Callable[[Machine], object]


PARTS = [
    # public record: recommendedMaxWorkingSetSize 115448.73 MB, "110100 MiB"
    Part("apple_recommended_max_table", "m4-max-128", 110100, lambda m: m.limit_bytes // MIB),
    # public record: an M2 Max has 30 or 38 GPU cores; this one 30 (see below, laid over the preset)
    Part("apple_m2max_system_profiler", "m2-max-96", "Apple M2 Max", lambda m: m.name),
    # llama.cpp 24933: cudaDeviceProp has name=NVIDIA GB10, integrated=1
    Part("gb10_cudaprop", "dgx-spark", ("NVIDIA GB10", True), lambda m: (m.name, m.unified)),
    # public record (omlx), three lines
    Part("gb10_meminfo_idle", "dgx-spark-desktop", 111584904 << 10, lambda m: m.limit_bytes),
    # public record, "the real box's figures"
    Part("gb10_meminfo_vllm_loaded", "dgx-spark-loaded", 7479680 << 10, lambda m: m.limit_bytes),
    # nvitop PR 208: NVML tells nothing, /proc/meminfo does
    Part("gb10_nvml", "dgx-spark", (127600748 << 10, 118566368 << 10),
         lambda m: (m.memory_bytes, m.available_bytes)),
    # public record (a test; UUIDs made up)
    Part("mixed_rtx5090_pro6000", "mixed-5090-pro6000", [(32607, "3"), (97887, "1")],
         lambda m: [((d.memory_bytes or 0) // MIB, d.uuid[4]) for d in m.devices]),
    # llmfit test: addressing_mode, memory.total, name = N/A, [N/A], Orin (nvgpu)
    Part("orin_nvidia_smi_query", "orin-64", "NVIDIA Orin", lambda m: m.name),
    # public record: index, name, memory.total with its unit
    Part("rtx5090_8x_nvidia_smi", "8x5090", [32607 * MIB] * 8,
         lambda m: [d.memory_bytes for d in m.devices]),
    # magnitude 44: DeviceID 5510, which is 0x1586; 10 CUs in each of 2x2 arrays
    Part("strix_amdgpu_top_head", "strix-halo-linux-carve-out", 40, lambda m: m.devices[0].cores),
    # public record (Strata's setup test): sysfs, verbatim
    Part("strix_aurora_sysfs", "strix-halo-linux-112", 120259084288, lambda m: m.limit_bytes),
    # ds4 475: "63968M of GTT memory ready" on a stock system
    Part("strix_dmesg_variants", "strix-halo-linux-stock", 63968, lambda m: m.limit_bytes // MIB),
    # kyuz0's logs: "VRAM: 126976 MiB" with 124 GiB of GTT
    Part("strix_ggml_device_lines", "strix_amd_ttm_variants, 124", 126976,
         lambda m: m.limit_bytes // MIB),
    # lhl: 229.5 GB/s written, and 212.6 GB/s by rocm-bandwidth-test: no probe measures
    Part("strix_memtest_vulkan", "strix-halo-linux", "strix-halo", lambda m: m.platform),
    Part("strix_rocm_bandwidth", "strix-halo-linux", "strix-halo", lambda m: m.platform),
    # lhl: Card Series "AMD Radeon Graphics", model 0x1586, gfx1151
    Part("strix_rocm_smi", "strix-halo-linux", "strix-halo", lambda m: m.platform),
    # rocm-libraries 4618: the processor's agent has "Radeon 8060S" in its name too
    Part("strix_rocminfo_cpu_agent", "strix-halo-linux", 1, lambda m: len(m.devices)),
    # ds4 475: gfx1151, 40 compute units, chip id 0x1586
    Part("strix_rocminfo_gpu_agent", "strix-halo-linux", 40, lambda m: m.devices[0].cores),
    # public records: INTEGRATED_GPU, 0x1002 0x1586, under RADV and AMD's driver
    Part("strix_vulkaninfo_summary_radv", "strix-halo-linux", True, lambda m: m.unified),
    Part("strix_vulkaninfo_summary_windows", "strix-halo-windows", True, lambda m: m.unified),
    # unsloth PR 10418: ggml's totals
    Part("strix_windows_vgm_measured", "strix-halo-windows-96", 111.89,
         lambda m: round(m.limit_bytes / GIB, 2)),
    # jetson_stats 711: board texts
    Part("thor_nv_tegra_release", "thor", "NVIDIA Thor", lambda m: m.name),
]  # fmt: skip
# llamacpp_release_assets_b10356 is of no machine.


@cache
def machine(name: str) -> Machine:
    return detect(Replay(ROWS[name].capture))


def planned(name: str, folder: Path) -> tuple[str, str, int]:
    """Return what `steprun plan --json` says of a row."""
    file = folder / "capture.json"
    save(ROWS[name].capture, file)
    result = CliRunner().invoke(plan, ["--json", "--machine", str(file)], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert told["schema"] == "steprun.plan/1"
    return told["verdict"], told["quant"], told["context"]


@pytest.mark.parametrize("name", ROWS)
def test_each_machine_is_known_with_its_limit(name: str) -> None:
    row, found = ROWS[name], machine(name)
    assert (found.platform, found.unified, found.backend) == (
        row.platform,
        row.unified,
        row.backend,
    )
    assert found.limit_bytes / GIB == pytest.approx(row.limit_gib, abs=0.06)
    assert len(row.source) > 20


@pytest.mark.parametrize("name", ROWS)
def test_each_machine_gets_its_plan(name: str, tmp_path: Path) -> None:
    assert planned(name, tmp_path) == PLANS.get(name)


def test_the_table_is_whole() -> None:
    assert sorted(row.name for row in PRESETS) == list(presets.names())
    assert sorted(PLANS) == sorted(ROWS)
    assert len(ROWS) == len(PRESETS) + len(SAMPLES)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.file)
def test_samples_agree_with_the_machine_that_they_complete(part: Part) -> None:
    assert part.found(machine(part.row)) == part.says


def test_a_mac_without_ioreg_is_asked_through_its_profiler() -> None:
    # public record: Apple M2 Max, macOS 15; the display entry shortened
    report = {
        "_name": "Apple M2 Max",
        "spdisplays_mtlgpufamilysupport": "spdisplays_metal4",
        "spdisplays_ndrvs": [{"_name": "Color LCD", "spdisplays_online": "spdisplays_yes"}],
        "sppci_cores": "30",
        "sppci_model": "Apple M2 Max",
    }
    base = presets.load_preset("m2-max-96")
    commands = {argv: said for argv, said in base.commands.items() if "ioreg" not in argv}
    profiler = ran({"system_profiler SPDisplaysDataType -json": json.dumps(
        {"SPDisplaysDataType": [report]})})  # fmt: skip
    found = detect(Replay(replace(base, commands={**commands, **profiler})))
    assert found.devices[0].cores == 30


def test_a_full_page_cache_is_told_and_dropped() -> None:
    (advice,) = machine("gb10_pagecache_vs_cudafree, after 60 GB").advice
    assert "drop_caches" in advice.command


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for each in ROWS:
            verdict, quant, context = planned(each, Path(made))
            print(f'    "{each}": ("{verdict}", "{quant}", {context:_}),')
