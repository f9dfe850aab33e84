"""What each known machine is taken for: real outputs, retyped, in one table.

The comment over a row names where its figures were captured. Outputs of tools that no probe
reads (rocminfo, vulkaninfo, ggml logs, dmesg) appear only as the expected figures.
"""

import json
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner.base.units import GIB, KIB, MIB
from runner.machine.captures.capture import Capture, Ran, Replay
from runner.machine.facts import Backend, Machine, Platform, to_json
from runner.machine.probe import PROBES, detect
from runner.machine.probes.host import Notes, read_host
from runner.machine.probes.nvidia import QUERIES
from tests.unit.machine.machine_captures import (
    ADA,
    BLACK,
    DRIVER,
    GB10_CARD,
    GB10_IDLE,
    HOST_128,
    PCI,
    RADEON,
    STRIX_ID,
    Files,
    linux,
    mac,
    meminfo,
    smi,
    strix,
    windows,
)


class Row(NamedTuple):
    name: str
    capture: Capture
    platform: Platform
    limit: int
    source: str
    reserve: int


# Limits are exact bytes. GiB figures of the sources are written as such.
SHARED = 25 * GIB // 4  # and 1.8 GiB of the driver in the ledger: 8 GiB in all
ROWS = [
    # public record: Mac mini M1 8 GB, macOS 26.3.2, sysctl; recommendedMax 5726633984 B
    Row("M1 8", mac(8, "Apple M1", macos="26.3.2"), Platform.APPLE, 5726633984, "M1", 2 * GIB),
    # llama.cpp 3213: M2 Max 32, "21845.34 MB" of 2^20 bytes
    Row("M2 Max 32", mac(32, "Apple M2 Max", macos="14.1"), Platform.APPLE, 21845 * MIB,
        "measured", 2 * GIB),
    # llama.cpp 3213: M2 Max 96, "73728,00 MB"; public record: system_profiler says 30 cores
    Row("M2 Max 96", mac(96, "Apple M2 Max", macos="15.0"), Platform.APPLE, 73728 * MIB,
        "measured", 2 * GIB),
    # llama.cpp PR 16634: M5 Max 48, 40200.90 MB
    Row("M5 Max 48", mac(48, "Apple M5 Max"), Platform.APPLE, 40_200_896_512, "measured", 2 * GIB),
    # public record: llama-server --list-devices on M4 Max 128: 115448.73 MB = 110100 MiB
    Row("M4 Max 128", mac(128, macos="26.0"), Platform.APPLE, 115_448_730_000, "measured",
        2 * GIB),
    # as above; a machine whose macOS version is not told
    Row("M4 Max 128, macOS unknown", mac(128, macos=""), Platform.APPLE, 115_448_730_000,
        "measured", 2 * GIB),
    # public logs of August 2025: M4 Max, 103079.22 MB = 96 GiB, before macOS 26
    Row("M4 Max 128, macOS 15", mac(128, macos="15.6"), Platform.APPLE, 96 * GIB, "before macOS 26",
        2 * GIB),
    # ds4 890: M5 Max 128, iogpu.wired_limit_mb 114688 -> 112.00 GiB
    Row("M5 Max 128 raised", mac(128, "Apple M5 Max", wired="114688"), Platform.APPLE, 112 * GIB,
        "wired_limit_mb", 2 * GIB),
    # jan 6961: M3 Ultra 512, 498216.21 MB
    Row("M3 Ultra 512", mac(512, "Apple M3 Ultra"), Platform.APPLE, 498_216_210_000, "measured",
        2 * GIB),
    # no measurement: the lower share of 48 and 96 GB (75 %)
    Row("M4 Max 64", mac(64), Platform.APPLE, 48 * GIB, "no measurement", 2 * GIB),
    # public record (omlx): GB10 idle; nvitop PR 208: memory fields [N/A]
    Row("GB10 idle", linux(GB10_IDLE, GB10_CARD, arch="aarch64"), Platform.GB10, 111584904 * KIB,
        "MemAvailable", SHARED),
    # nvitop PR 208: MemTotal 127600748, MemAvailable 118566368; units as csv prints them
    Row("GB10 with units", linux(meminfo(127600748, 118566368),
        "NVIDIA GB10, [N/A], [N/A] MiB, N/A, 12.1, 580.173.02"), Platform.GB10,
        118566368 * KIB, "MemAvailable", SHARED),
    # nvtop PR 463: some drivers answer with about MemTotal
    Row("GB10 with a figure", linux(GB10_IDLE, "NVIDIA GB10, GPU-0, 124610, 96835, 12.1, 580"),
        Platform.GB10, 111584904 * KIB, "MemAvailable", SHARED),
    # public record (cluster probe): 8 GiB swapped; swap must not count
    Row("GB10 swapping", linux(meminfo(127600752, 13945856, 6291456, SwapTotal=16777212,
        SwapFree=8290872), GB10_CARD), Platform.GB10, 13945856 * KIB, "swap is not counted",
        SHARED),
    # public record: vLLM holds the memory, MemAvailable 7.1 GiB
    Row("GB10 loaded", linux(meminfo(127535272, 7479680, 1118800, Cached=11188896), GB10_CARD),
        Platform.GB10, 7479680 * KIB, "MemAvailable", SHARED),
    # llmfit comment: inside Docker the name is the PCI line
    Row("GB10 in Docker", linux(GB10_IDLE, "NVIDIA Corporation Device [10de:2e12] (rev a1), "
        "[N/A], Not Supported, , N/A, 580", arch="aarch64"), Platform.GB10, 111584904 * KIB,
        "MemAvailable", SHARED),
    # unsloth 10691 and others: nvidia-smi does not answer; PCI or the board's name is enough
    Row("GB10 by PCI", linux(GB10_IDLE, pci="10DE:2E12"), Platform.GB10, 111584904 * KIB,
        "MemAvailable", SHARED),
    Row("GB10 by board", linux(GB10_IDLE, files={"/sys/class/dmi/id/product_name":
        "NVIDIA_DGX_Spark\n"}), Platform.GB10, 111584904 * KIB, "MemAvailable", SHARED),
    # unsloth 10283: N1X, a parseable 8128 MiB that means nothing
    Row("N1X", linux(meminfo(60_000_000, 50_000_000), "NVIDIA RTX Spark N1X, [N/A], 8128, 7929, "
        "12.1, 590.1"), Platform.GB10, 50_000_000 * KIB, "MemAvailable", SHARED),
    # jetson_stats 711 (device tree, NUL at its end); machines: `ATS, [N/A], NVIDIA Thor`
    Row("Thor", linux(meminfo(128_800_000, 120_000_000), "NVIDIA Thor, [N/A], [N/A], [N/A], "
        "11.0, 580", arch="aarch64"), Platform.CUDA, 120_000_000 * KIB, "MemAvailable", SHARED),
    Row("Thor by device tree", linux(meminfo(128_800_000, 120_000_000), arch="aarch64", files={
        "/proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0"}), Platform.CUDA,
        120_000_000 * KIB, "MemAvailable", SHARED),
    # jetson_stats 711: a Thor's compatible (NULs between the parts) and its release file
    Row("Thor by compatible", linux(meminfo(128_800_000, 120_000_000), arch="aarch64", files={
        "/proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0"
        "nvidia,tegra264\0"}), Platform.CUDA, 120_000_000 * KIB, "MemAvailable", SHARED),
    Row("Jetson by release", linux(meminfo(128_800_000, 120_000_000), arch="aarch64", files={
        "/etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, "
        "EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025\n"}), Platform.CUDA,
        120_000_000 * KIB, "MemAvailable", SHARED),
    # llmfit test: Jetson Orin
    Row("Orin", linux(meminfo(64_000_000, 60_000_000), "Orin (nvgpu), [N/A], [N/A], [N/A], 8.7, "
        "540", arch="aarch64"), Platform.CUDA, 60_000_000 * KIB, "MemAvailable", SHARED),
    # made up: an Orin that only its device tree names
    Row("Orin by device tree", linux(meminfo(64_000_000, 60_000_000), arch="aarch64", files={
        "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0"}), Platform.CUDA,
        60_000_000 * KIB, "MemAvailable", SHARED),
    # made up: superchips of two generations, memory of their own
    Row("GH200", linux(HOST_128, f"NVIDIA GH200 480GB, {ADA}, 97871, 97000, 9.0, 580",
        arch="aarch64"), Platform.CUDA, 97871 * MIB, "1 card", 644245094),
    Row("2x GB200", linux(HOST_128, f"NVIDIA GB200, {ADA}, 189471, 189000, 10.0, 580",
        f"NVIDIA GB200, {BLACK}, 189471, 189000, 10.0, 580"), Platform.CUDA, 2 * 189471 * MIB,
        "2 cards", 2 * 644245094),
    # NemoClaw 9901: GB300 has 256703 MiB of its own, ATS or not
    Row("GB300", linux(HOST_128, f"NVIDIA GB300, {ADA}, 256703, 250000, 10.3, 580"), Platform.CUDA,
        256703 * MIB, "1 card", 644245094),
    # the same station with a second card for the screen
    Row("GB300 and PRO 6000", linux(HOST_128, f"NVIDIA RTX PRO 6000 Blackwell, {ADA}, 97887, "
        f"97000, 12.0, 580", f"NVIDIA GB300, {BLACK}, 256703, 250000, 10.3, 580"), Platform.CUDA,
        256703 * MIB, "1 card", 644245094),
    # public record: 5090 and PRO 6000
    Row("mixed", linux(HOST_128, f"NVIDIA GeForce RTX 5090, {BLACK}, 32607, 32000, 12.0, 580",
        f"NVIDIA RTX PRO 6000 Blackwell, {ADA}, 97887, 97000, 12.0, 580"), Platform.CUDA,
        (32607 + 97887) * MIB, "2 cards", 2 * 644245094),
    # public record: 4x 5090 under gpu_burn, 31809 of 32607 MiB used
    Row("4x 5090", linux(HOST_128, *[f"NVIDIA GeForce RTX 5090, GPU-{n}, 32607, 798, 12.0, 580"
        for n in range(4)]), Platform.CUDA, 4 * 32607 * MIB, "4 cards", 4 * 644245094),
    # public record: 8x 5090, with units; a driver too old for compute_cap
    Row("8x 5090", linux(HOST_128, *[f"NVIDIA GeForce RTX 5090, GPU-{n}, 32607 MiB, 32000 MiB"
        for n in range(8)], query=QUERIES[1]), Platform.CUDA, 8 * 32607 * MIB, "8 cards",
        8 * 644245094),
    # llama.cpp 3213 wrote figures with a decimal comma
    Row("decimal comma", linux(HOST_128, f"NVIDIA RTX 6000 Ada, {ADA}, 49140,00 MiB, 48000,5, "
        "8.9, 580"), Platform.CUDA, 49140 * MIB, "1 card", 644245094),
    # public record (Strata): 2 GiB carve-out, pages_limit 29360128, kernel 7.0
    Row("Strix 112", strix(127098456, 2147483648, 120259084288, 29360128), Platform.STRIX_HALO,
        112 * GIB, "GTT", GIB),
    # nix-amd-ai 42: Flow Z13, pages_limit 25165824 -> gtt 103079215104, HIP says 98304 MiB
    Row("Strix Flow Z13", strix(122_600_000, 4294967296, 103079215104, 25165824),
        Platform.STRIX_HALO, 98304 * MIB, "GTT", GIB),
    # ds4 475: stock, "63968M of GTT memory ready"
    Row("Strix stock", strix(131_000_000, 536870912, 63968 * MIB), Platform.STRIX_HALO,
        63968 * MIB, "GTT", GIB),
    # ds4 16: 124 GiB of 125.02 kept GNOME from starting: 6 GiB must stay
    Row("Strix 124", strix(int(125.02 * MIB), 536870912, 124 * GIB, 32505856),
        Platform.STRIX_HALO, 124 * GIB, "GTT", 124 * GIB - (int(125.02 * MIB) * KIB - 6 * GIB)),
    # unsloth PR 7960: amdgpu.gttsize=131072 alone: 128.00 of 124.92 GiB, ttm still at half
    Row("Strix gttsize", strix(int(124.92 * MIB), 536870912, 128 * GIB, int(62.47 * 262144)),
        Platform.STRIX_HALO, int(62.47 * 262144) * 4096, "pages_limit", GIB),
    # public record: 96 GiB carve-out, vram 103079215104, gtt 16363954176; MemTotal derived
    Row("Strix carve-out", strix(31_960_848, 103079215104, 16363954176), Platform.STRIX_HALO,
        103079215104 + 16363954176, "carve-out", GIB),
    # unsloth PR 10418, driver 32.0.31041.1004: carve-out, visible RAM, ggml total in GiB
    Row("Windows 32", windows(95.78, (RADEON, STRIX_ID, 32 * GIB, DRIVER)), Platform.STRIX_HALO,
        int(108.62 * GIB), "measured", 3 * GIB),
    Row("Windows 64", windows(63.65, (RADEON, STRIX_ID, 64 * GIB, DRIVER)), Platform.STRIX_HALO,
        int(111.65 * GIB), "measured", 3 * GIB),
    Row("Windows 96", windows(31.78, (RADEON, STRIX_ID, 96 * GIB, DRIVER)), Platform.STRIX_HALO,
        int(111.89 * GIB), "measured", 3 * GIB),
    # llama.cpp 16832: a driver of 2025 exposed 64 + 32 GiB
    Row("Windows 64, old driver", windows(64, (RADEON, STRIX_ID, 64 * GIB, "32.0.21013.1000")),
        Platform.STRIX_HALO, 96 * GIB, "50% of", 3 * GIB),
    # public record: PNP id of a Strix Halo; the registry gave nothing
    Row("Windows, no registry", windows(64, present=[{"name": RADEON, "id": STRIX_ID}]),
        Platform.STRIX_HALO, 32 * GIB, "50% of", 3 * GIB),
    # llmfit tests: R9700 32 GiB and V710 28 GiB in the registry
    Row("Windows R9700", windows(64, ("AMD Radeon AI PRO R9700", "PCI\\VEN_1002&DEV_7551",
        34359738368, DRIVER), ("AMD Radeon PRO V710", "PCI\\VEN_1002&DEV_7461", 30064771072,
        DRIVER)), Platform.VULKAN, 34359738368 + 30064771072, "2 cards", 2 * 644245094),
    # made up: no accelerator
    Row("CPU", linux(meminfo(131_000_000, 125_000_000, 1_000_000)), Platform.CPU,
        125_000_000 * KIB, "MemAvailable", 2 * GIB),
    Row("CPU in a container", linux(meminfo(131_000_000, 125_000_000), files={
        "/sys/fs/cgroup/memory.max": f"{16 * GIB}\n", "/sys/fs/cgroup/memory.current":
        f"{5 * GIB}\n", "/sys/fs/cgroup/memory.stat": f"anon 7\ninactive_file {GIB}\n"}),
        Platform.CPU, 12 * GIB, "control group", 2 * GIB),
    Row("CPU, unlimited container", linux(meminfo(131_000_000, 125_000_000), files={
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}), Platform.CPU,
        125_000_000 * KIB, "MemAvailable", 2 * GIB),
]  # fmt: skip

BACKENDS = {
    Platform.APPLE: Backend.METAL,
    Platform.GB10: Backend.CUDA,
    Platform.CUDA: Backend.CUDA,
    Platform.STRIX_HALO: Backend.VULKAN,
    Platform.VULKAN: Backend.VULKAN,
    Platform.CPU: Backend.CPU,
}


def found(name: str) -> Machine:
    return detect(Replay(next(row.capture for row in ROWS if row.name == name)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_machine_is_known_with_its_limit(row):
    machine = detect(Replay(row.capture))
    assert machine.platform is row.platform
    assert machine.backend is BACKENDS[row.platform]
    assert machine.limit_bytes == row.limit
    assert row.source in machine.limit_source
    assert machine.reserve_bytes == row.reserve
    assert machine.reserve_why


def test_working_set_of_m4_max_is_what_its_engine_prints():
    machine = found("M4 Max 128")
    assert machine.limit_bytes // MIB == 110100
    assert (machine.cores, machine.memory_bytes) == (16, 128 * GIB)


def test_an_unmeasured_mac_gets_no_more_than_was_seen():
    # ollama 12847: M2 Ultra 192 had 115.4 GiB still available, so its working set is above that
    machine = detect(Replay(mac(192, "Apple M2 Ultra")))
    assert 115.4 * GIB < machine.limit_bytes < 192 * GIB * 0.85


@pytest.mark.parametrize(
    ("capture", "cores"),
    [
        (mac(128, cores=40), 40),
        # public record: M2 Max, system_profiler; the display called after its owner is no card
        (mac(96, "Apple M2 Max", commands={"system_profiler -json SPDisplaysDataType": Ran(0,
            '{"SPDisplaysDataType":[{"_name":"Apple M2 Max","sppci_cores":"30"}]}')}), 30),
        (mac(128), None),
    ],
)  # fmt: skip
def test_gpu_cores_of_a_mac(capture, cores):
    machine = detect(Replay(capture))
    assert machine.devices[0].cores == cores
    assert ("GPU cores" in machine.unknown) == (cores is None)


@pytest.mark.parametrize(
    ("wired", "command", "undo"),
    [
        ("0", 114688, 0),
        ("114688", 116736, 114688),
        ("116736", None, None),
        ("117760", None, None),
        ("117761", 117760, 117761),
    ],
)
def test_wired_limit_is_raised_in_steps_and_never_past_the_cap(wired, command, undo):
    machine = detect(Replay(mac(128, wired=wired)))
    told = [(advice.command, advice.undo) for advice in machine.advice]
    line = "sudo sysctl iogpu.wired_limit_mb="
    assert told == ([] if command is None else [(f"{line}{command}", f"{line}{undo}")])
    assert any("panic" in warning for warning in machine.warnings) == (int(wired) > 117760)


@pytest.mark.parametrize(
    ("wired", "limit"),
    [("200000", 115 * GIB), ("81920", 80 * GIB), ("-1", 115_448_730_000), ("x", 115_448_730_000)],
)
def test_the_wired_limit_is_followed_both_ways_within_the_ram(wired, limit):
    assert detect(Replay(mac(128, wired=wired))).limit_bytes == limit


@pytest.mark.parametrize(("ram_gib", "advised"), [(64, 0), (96, 1), (128, 1), (192, 0), (512, 0)])
def test_only_a_mac_that_gains_a_quant_gets_advice(ram_gib, advised):
    assert len(detect(Replay(mac(ram_gib))).advice) == advised


def test_rosetta_is_told_and_seen_through():
    translated = mac(128, commands={"sysctl -n sysctl.proc_translated": Ran(0, "1\n")})
    machine = detect(Replay(Capture("darwin-x86_64", {}, translated.commands)))
    assert (machine.platform, machine.arch) == (Platform.APPLE, "arm64")
    assert any("Rosetta" in warning for warning in machine.warnings)


def test_an_intel_mac_is_a_plain_computer():
    vm_stat = (
        "Mach Virtual Memory Statistics: (page size of 4096 bytes)\n"
        'Pages free:                 1000.\n"Translation faults":  99.\nPages inactive:   500.\n'
    )
    commands = {"vm_stat": Ran(0, vm_stat), "sysctl -n hw.memsize": Ran(0, "68719476736\n")}
    machine = detect(Replay(Capture("darwin-x86_64", {}, commands)))
    assert (machine.platform, machine.limit_bytes) == (Platform.CPU, 1500 * 4096)


def test_what_programs_hold_is_not_available_on_a_mac():
    """Inactive pages are programs' own as well; pages that hold files can be had at once."""
    vm_stat = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free: 1000.\nPages inactive: 90000.\nPages speculative: 10.\n"
        "Pages purgeable: 20.\nFile-backed pages: 500.\nAnonymous pages: 200000.\n"
    )
    machine = detect(Replay(mac(128, commands={"vm_stat": Ran(0, vm_stat)})))
    assert machine.available_bytes == 1520 * 16384


def test_page_cache_is_dropped_only_where_there_is_much():
    # unsloth PR 10704: MemFree 41.52, MemAvailable 115.65 GiB after 60 GB were written; 8 GiB made
    full = meminfo(127600748, int(115.65 * MIB), int(41.52 * MIB))
    some = meminfo(127600748, int(115.65 * MIB), int(111.0 * MIB))
    clear = meminfo(127600748, int(115.65 * MIB), int(112.0 * MIB))
    (advice,) = detect(Replay(linux(full, GB10_CARD))).advice
    assert advice.command == "sudo sh -c 'sync; echo 3 > /proc/sys/vm/drop_caches'"
    assert detect(Replay(linux(some, GB10_CARD))).advice
    assert detect(Replay(linux(clear, GB10_CARD))).advice == ()


def test_memory_held_by_others_is_told():
    assert any("restart frees it" in warning for warning in found("GB10 loaded").warnings)
    assert found("GB10 idle").warnings == ()
    assert any("in use now" in warning for warning in found("4x 5090").warnings)
    assert found("mixed").warnings == ()


def test_the_screens_card_is_another_way():
    machine = found("GB300 and PRO 6000")
    assert [device.uuid for device in machine.devices] == [BLACK]
    (other,) = machine.alternatives
    assert "RTX PRO 6000" in other.name


def test_a_full_card_is_not_an_empty_one():
    full = linux(HOST_128, f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 0, 12.0, 580")
    (device,) = detect(Replay(full)).devices
    assert device.free_bytes == 0


def test_small_and_silent_cards_are_told_and_not_counted():
    cards = ("GT 1030, GPU-1, 2048, 2000, 6.1, 580", "GRID X, GPU-2, [N/A], [N/A], 8.6, 580")
    machine = detect(Replay(linux(HOST_128, *cards)))
    assert machine.platform is Platform.CPU
    assert any("GT 1030" in warning for warning in machine.warnings)
    assert "memory of GRID X" in machine.unknown


def test_gb10_is_known_by_its_compute_capability_alone():
    machine = detect(Replay(linux(GB10_IDLE, "NVIDIA Graphics Device, x, [N/A], [N/A], 12.1, 580")))
    assert machine.platform is Platform.GB10
    machine = detect(Replay(linux(HOST_128, "NVIDIA GeForce RTX 5060, x, 16311, 16000, 12.0, 580")))
    assert machine.platform is Platform.CUDA


def test_windows_lends_an_n1x_a_part_of_its_ram():
    # unsloth PR 11208: of 54.2 GiB that Windows sees, CUDA may take 46477 MiB
    card = Ran(0, "NVIDIA RTX Spark N1X, [N/A], 8128, 7929, 12.1, 590.1\n")
    seen = windows(54.2)
    machine = detect(Replay(Capture("win32-ARM64", {}, {**seen.commands, smi(): card})))
    assert machine.platform is Platform.GB10
    assert 0.97 * 46477 * MIB < machine.limit_bytes <= 46477 * MIB


def test_cards_keep_their_uuids():
    assert [device.uuid for device in found("mixed").devices] == [BLACK, ADA]
    assert found("4x 5090").name == "4x NVIDIA GeForce RTX 5090"


@pytest.mark.parametrize(
    ("capture", "silent"),
    [
        (linux(HOST_128), False),  # the bus shows no NVIDIA: there is none
        (linux(HOST_128, pci="10DE:2B85"), True),  # a 5090, no answer
        (Capture("linux-x86_64", {"/proc/meminfo": HOST_128}), True),  # no bus to be seen
        (linux(HOST_128, files={"/dev/dxg": ""}), True),  # WSL2
        (windows(64), True),
        (windows(64, present=[{"name": "Intel", "id": "PCI\\VEN_8086&DEV_A780"}]), False),
    ],
)
def test_a_silent_nvidia_smi_is_unknown_and_not_absent(capture, silent):
    machine = detect(Replay(capture))
    assert machine.platform is Platform.CPU
    assert ("nvidia-smi" in machine.unknown) == silent
    on_the_bus = "10DE" in (capture.files.get(PCI) or "")
    assert any("is the driver installed?" in warning for warning in machine.warnings) == on_the_bus


def test_failing_tools_answer_nothing():
    failed = {smi(): Ran(9, "NVIDIA GeForce RTX 5090, GPU-1, 32607, 32000, 12.0, 580")}
    capture = Capture("linux-x86_64", {"/proc/meminfo": HOST_128}, failed)
    assert detect(Replay(capture)).platform is Platform.CPU


@pytest.mark.parametrize(
    ("total_gib", "gtt_gib", "target"),
    [
        (125.0, 62.5, 116),
        (121.21, 112, 115),  # 95 % of what this one has
        (121.21, 115, None),
        (121.05, 112, 114),
        (62.0, 31.0, 56),  # 6 GiB stay
        (125.0, 116, None),
    ],
)
def test_gtt_is_raised_as_far_as_this_machine_can_spare(total_gib, gtt_gib, target):
    machine = detect(Replay(strix(int(total_gib * MIB), 536870912, int(gtt_gib * GIB))))
    commands = [advice.command for advice in machine.advice]
    if target is None:
        assert commands == []
    else:
        pages = target * 262144
        file = "/etc/modprobe.d/zz-steprun.conf"
        assert commands == [f"echo 'options ttm pages_limit={pages}' | sudo tee {file}"]
        assert machine.advice[0].undo == f"sudo rm {file}"


def test_gtt_advice_names_the_module_in_use():
    files = {"/sys/module/amdttm/parameters/pages_limit": "16375808\n"}
    machine = detect(Replay(strix(131_000_000, 536870912, 63968 * MIB, files=files)))
    assert "options amdttm pages_limit=30408704" in machine.advice[0].command


def test_a_large_carve_out_is_given_back_and_gtt_is_raised():
    machine = found("Strix carve-out")
    (advice,) = machine.advice
    assert "96.00 GiB now" in advice.what
    assert "UMA size to its minimum" in advice.what
    assert advice.limit_after == 116 * GIB
    assert any("UMA" in warning for warning in machine.warnings)
    assert machine.memory_bytes == 31_960_848 * KIB + 103079215104


def test_closed_devices_are_told():
    files = {"/dev/dri/renderD128": None, "/dev/kfd": None}
    machine = detect(Replay(strix(127098456, 2147483648, 120259084288, files=files)))
    assert any("/dev/dri/renderD128 and /dev/kfd" in warning for warning in machine.warnings)
    assert any("usermod -aG render,video" in advice.command for advice in machine.advice)
    assert not any("/dev" in warning for warning in found("Strix 112").warnings)


def test_strix_whose_driver_is_silent_is_still_strix():
    files = {"/proc/meminfo": meminfo(127098456), PCI: "PCI_CLASS=38000\nPCI_ID=1002:1586\n"}
    machine = detect(Replay(Capture("linux-x86_64", files)))
    assert machine.platform is Platform.STRIX_HALO
    assert "mem_info_gtt_total" in machine.unknown
    assert machine.limit_bytes == 127098456 * KIB // 2


@pytest.mark.parametrize("gfx", ["110500", "110502", "110003", "1105010", ""])
def test_only_the_exact_engine_is_strix_halo(gfx):
    files = {
        "/proc/meminfo": HOST_128,
        "/sys/class/kfd/kfd/topology/nodes/1/properties": f"simd_count 80\n"
        f"gfx_target_version {gfx}\n",
    }
    assert detect(Replay(Capture("linux-x86_64", files))).platform is Platform.CPU


def amd_card(vram: int, files: Files | None = None) -> Capture:
    card = "/sys/class/drm/card0/device"
    return Capture(
        "linux-x86_64",
        {
            "/proc/meminfo": HOST_128,
            f"{card}/vendor": "0x1002",
            f"{card}/device": "0x7551",
            f"{card}/product_name": "AMD Radeon AI PRO R9700\n",
            f"{card}/mem_info_vram_total": str(vram),
            # a socket of the card, were it to show the card's own files
            "/sys/class/drm/card0-DP-1/device/vendor": "0x1002",
            "/sys/class/drm/card0-DP-1/device/mem_info_vram_total": str(vram),
            **(files or {}),
        },
    )


@pytest.mark.parametrize(
    ("capture", "platform", "limit"),
    [
        (amd_card(34208743424, files={"/dev/kfd": ""}), Platform.ROCM, 34208743424),
        (amd_card(34208743424), Platform.VULKAN, 34208743424),
        (amd_card(34208743424, files={"/dev/kfd": None}), Platform.VULKAN, 34208743424),
        (amd_card(536870912), Platform.CPU, 120_000_000 * KIB),  # a desktop processor's graphics
    ],
)
def test_discrete_amd_cards(capture, platform, limit):
    machine = detect(Replay(capture))
    assert (machine.platform, machine.limit_bytes) == (platform, limit)


def test_the_accelerator_with_most_room_is_taken():
    strix_with_card = strix(127098456, 2147483648, 120259084288, 29360128)
    card = Ran(0, f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 32000, 12.0, 580\n")
    both = Capture(strix_with_card.platform, strix_with_card.files, {smi(): card})
    assert detect(Replay(both)).platform is Platform.STRIX_HALO


@pytest.mark.parametrize("value", [[0, 0, 0, 0, 16, 0, 0, 0], 68719476736, "68719476736"])
def test_registry_values_may_be_binary(value):
    machine = detect(Replay(windows(63.65, (RADEON, STRIX_ID, value, DRIVER))))
    assert machine.limit_bytes == int(111.65 * GIB)


@pytest.mark.parametrize("value", [None, -1, 0, 1 << 64, [999], "x", {"a": 1}, True, 1e300])
def test_an_absurd_carve_out_is_none(value):
    machine = detect(Replay(windows(64, (RADEON, STRIX_ID, value, DRIVER))))
    # -1 is what a 32-bit field holds for 4 GiB less a byte
    assert machine.limit_bytes == 32 * GIB + ((1 << 32) - 1 if value == -1 else 0)


def test_an_adapter_that_was_taken_out_does_not_count():
    gone = ("AMD Radeon AI PRO R9700", "PCI\\VEN_1002&DEV_7551", 34359738368, DRIVER)
    capture = windows(64, gone, present=[{"name": "Other", "id": "VEN_8086&DEV_A780"}])
    assert detect(Replay(capture)).platform is Platform.CPU


@pytest.mark.parametrize(
    ("cpuinfo", "quota", "cores"),
    [
        (
            "\n\n".join(
                f"processor : {n}\nphysical id : 0\ncore id : {core}"
                for n, core in enumerate((0, 0, 1))
            ),
            None,
            2,
        ),
        ("processor : 0\nCPU implementer : 0x41\n\nprocessor : 1\n", None, 2),
        ("processor : 0\n\nprocessor : 1\n\nprocessor : 2\n", "150000 100000", 2),
        ("processor : 0\n\nprocessor : 1\n", "max 100000", 2),
        ("", None, 1),
    ],
)  # fmt: skip
def test_physical_cores(cpuinfo, quota, cores):
    files = {"/proc/cpuinfo": cpuinfo, "/sys/fs/cgroup/cpu.max": quota}
    assert detect(Replay(linux(HOST_128, files=files))).cores == cores


def test_the_architecture_is_read_where_the_capture_does_not_tell():
    files = {"/proc/cpuinfo": "processor : 0\nCPU implementer : 0x41\n"}
    assert detect(Replay(Capture("linux", files))).arch == "arm64"
    assert detect(Replay(linux(HOST_128, arch="aarch64"))).arch == "arm64"


@pytest.mark.parametrize("name", ["linux", "darwin-arm64", "win32-AMD64", "freebsd14-amd64", "?"])
def test_a_machine_that_tells_nothing_is_explained(name):
    machine = detect(Replay(Capture(name)))
    assert (machine.memory_bytes, machine.limit_bytes) == (0, 0)
    assert any("could not be read" in warning for warning in machine.warnings)
    assert machine.unknown


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__module__)
def test_every_probe_has_a_machine_in_the_table(probe):
    readers = [Replay(row.capture) for row in ROWS]
    assert any(probe(reader, read_host(reader, Notes()), Notes()) for reader in readers)


def test_json_names_sizes_in_bytes_and_is_only_data():
    document = json.loads(json.dumps(to_json(found("mixed"))))
    assert document["schema"] == "steprun.machine/1"
    assert document["platform"] == "cuda"
    assert document["limit_bytes"] == (32607 + 97887) * MIB
    assert document["devices"][0] == {
        "name": "NVIDIA GeForce RTX 5090",
        "backend": "cuda",
        "memory_bytes": 32607 * MIB,
        "free_bytes": 32000 * MIB,
        "uuid": BLACK,
        "cores": None,
        "engine_name": "",
        "index": 0,
    }


# What real tools have printed in place of a figure, and what nobody has printed yet.
NASTY = st.sampled_from(
    [
        "", "\0", "[N/A]", "N/A", "Not Supported", "0", "-1", "1e400", "NaN", str(2**64),
        "9" * 5000, "73728,00 MB", "1.234.567,8", "\x1b[31m32607\x1b[0m", "٣٢", "\ud800",
        "Nicht verfügbar",
        "GB10", "Thor", "GB300, " * 50, "0x1002", "1002:1586", "[" * 3000, "{}", "[1]", "null",
        "\ufeff[]",
        '{"SPDisplaysDataType": 5}', '{"registry": [[]], "present": {"id": 5}}', "12.1", "110501",
    ]
)  # fmt: skip
TEXT = NASTY | st.text(max_size=200)


@st.composite
def spoiled(draw):
    """Return one of the table's captures with some answers replaced by nonsense."""
    capture = draw(st.sampled_from(ROWS)).capture
    files, commands = dict(capture.files), dict(capture.commands)
    for path in draw(st.sets(st.sampled_from(sorted(files)))) if files else ():
        files[path] = draw(st.none() | TEXT | TEXT.map(lambda nonsense: f"MemTotal: {nonsense}"))
    for argv in draw(st.sets(st.sampled_from(sorted(commands)))) if commands else ():
        lines = st.lists(TEXT, max_size=8).map(", ".join)
        ran = st.builds(Ran, st.sampled_from([0, 0, 0, 1, -9, 2**70]), TEXT | lines)
        commands[argv] = draw(st.none() | ran)
    return Capture(draw(st.just(capture.platform) | TEXT), files, commands)


@given(spoiled())
@example(Capture("linux", {"/proc/meminfo": f"MemTotal: {2**64} kB\nMemAvailable: -5 kB\n"}))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nonsense_never_crashes_and_never_promises(capture):
    machine = detect(Replay(capture))
    assert isinstance(machine, Machine)
    assert 0 <= machine.limit_bytes <= 1 << 67
    assert machine.reserve_bytes >= 0
    assert 1 <= machine.cores <= 4096
    assert machine.limit_bytes or machine.warnings
    printed = json.dumps(to_json(machine), ensure_ascii=False).encode()  # no lone surrogates
    assert b"\x1b" not in printed
