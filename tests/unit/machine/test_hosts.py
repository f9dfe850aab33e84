"""What the host around an accelerator tells: control groups, WSL2, kernels, held memory, lies."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.units import GIB, KIB, MIB
from runner.machine.captures.capture import Capture, Ran, Replay
from runner.machine.facts import Backend, Machine, Platform
from runner.machine.probe import detect
from runner.machine.probes import vulkan_info
from runner.machine.probes.host import WINDOWS_ADAPTERS, HostFacts, Notes, read_host
from runner.machine.probes.nvidia import HELD_QUERY, MIG_QUERY
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
    meminfo,
    strix,
    windows,
)

OSRELEASE = "/proc/sys/kernel/osrelease"
STRIX_CPU = "processor : 0\nmodel name : AMD RYZEN AI MAX+ 395 w/ Radeon 8060S\n"


def ran(capture: Capture, **commands: str | None) -> Capture:
    """Return a capture with the answers of more commands; None stands for a failure."""
    more = {argv: Ran(0 if out is not None else 1, out or "") for argv, out in commands.items()}
    return replace(capture, commands={**capture.commands, **more})


def told(machine: Machine, text: str) -> bool:
    return any(text in warning for warning in machine.warnings)


# --- control groups


def group(path: str, limit: str, use: int = 0, name: str = "memory.max") -> dict[str, str]:
    folder = f"/sys/fs/cgroup{path}"
    return {f"{folder}/{name}": limit, f"{folder}/memory.current": f"{use}\n"}


SCOPE = "/user.slice/user-1000.slice/app.scope"


@pytest.mark.parametrize(
    ("own", "files", "room_gib"),
    [
        # inside a systemd scope: its own limit, a parent's, both
        (f"0::{SCOPE}\n", group(SCOPE, f"{16 * GIB}\n", 5 * GIB), 11),
        (f"0::{SCOPE}\n", group("/user.slice", f"{20 * GIB}\n", 6 * GIB), 14),
        (f"0::{SCOPE}\n", group("/user.slice", f"{20 * GIB}\n", 6 * GIB)
         | group(SCOPE, f"{16 * GIB}\n", 1 * GIB), 14),
        (f"0::{SCOPE}\n", group("/user.slice", "max\n") | group(SCOPE, f"{16 * GIB}\n"), 16),
        # slowed down beyond `high`, refused beyond `max`
        (f"0::{SCOPE}\n", group(SCOPE, f"{9 * GIB}\n", 0, "memory.high")
         | group(SCOPE, f"{16 * GIB}\n"), 9),
        # another's group does not count
        (f"0::{SCOPE}\n", group("/system.slice", f"{1 * GIB}\n"), None),
        # a container sees its own group as the root, or a path it cannot follow
        ("0::/\n", group("", f"{16 * GIB}\n", 5 * GIB), 11),
        ("0::/../../other.scope\n", group("", f"{16 * GIB}\n")
         | group("/../../other.scope", f"{1 * GIB}\n"), 16),
        # groups 1, with their controllers on one line
        ("9:cpu,memory:/docker/abc\n1:name=systemd:/\n", {
            "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{8 * GIB}\n"}, 8),
        ("", {}, None),
    ],
)  # fmt: skip
def test_the_least_of_all_groups_on_the_path_counts(own, files, room_gib):
    machine = detect(Replay(linux(HOST_128, files={"/proc/self/cgroup": own, **files})))
    if room_gib is None:
        assert machine.limit_bytes == 120_000_000 * KIB
    else:
        assert machine.limit_bytes == room_gib * GIB
        assert "control group" in machine.limit_source


# --- WSL2


def wsl(memory: str, *cards: str, files: Files | None = None) -> Capture:
    base: dict[str, str | None] = {OSRELEASE: "6.6.87.2-microsoft-standard-WSL2\n", "/dev/dxg": ""}
    return linux(memory, *cards, pci="1414:008E", files=base | dict(files or {}))


def test_wsl_uses_cards_and_advises_more_ram():
    card = f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 30000, 12.0, 580"
    machine = detect(Replay(wsl(meminfo(65_000_000, 60_000_000), card)))
    assert machine.platform is Platform.CUDA
    (advice,) = machine.advice
    assert "61.99 GiB of RAM" in advice.what
    assert "WSL2 cannot see it" in advice.what
    assert "memory=" in advice.what
    assert ".wslconfig" in advice.command
    assert advice.undo
    assert not told(machine, "out of reach")


@pytest.mark.parametrize(
    "capture",
    [
        linux(meminfo(65_000_000, 60_000_000)),  # no WSL2
        wsl(meminfo(120_000_000, 119_000_000)),  # enough
    ],
)
def test_ram_is_asked_for_only_inside_wsl_and_where_it_lacks(capture):
    assert detect(Replay(capture)).advice == ()


def test_strix_halo_inside_wsl_is_sent_to_windows():
    machine = detect(
        Replay(wsl(meminfo(65_000_000, 60_000_000), files={"/proc/cpuinfo": STRIX_CPU}))
    )
    assert machine.platform is Platform.CPU
    assert told(machine, "out of reach inside WSL2")
    assert told(machine, "under Windows itself")
    other = linux(HOST_128, files={"/proc/cpuinfo": STRIX_CPU})
    assert not told(detect(Replay(other)), "WSL2")


@pytest.mark.parametrize("files", [{"/dev/dxg": ""}, {OSRELEASE: "5.15.1-Microsoft-WSL2\n"}])
def test_either_sign_of_wsl_is_enough(files):
    machine = detect(Replay(linux(meminfo(65_000_000, 60_000_000), files=files)))
    assert len(machine.advice) == 1


# --- NVIDIA's shared memory

MEMINFO_HELD = meminfo(127600748, 40_000_000, 38_000_000, Buffers=100_000, Cached=2_000_000,
    AnonPages=3_000_000, Slab=500_000)  # fmt: skip


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ("70000\n1024\n", "programs on the GPU hold 69.36 GiB. Stop them"),
        ("", "and 80.11 GiB are held by no program"),
        (None, "83.54 GiB are in use. Stop other engines"),
        ("[N/A]\n", "83.54 GiB are in use. Stop other engines"),
    ],
)
def test_missing_memory_is_explained_with_its_remedy(held, words):
    capture = ran(linux(MEMINFO_HELD, GB10_CARD), **{" ".join(HELD_QUERY): held})
    machine = detect(Replay(capture))
    (warning,) = machine.warnings
    assert warning.startswith("Only 38.15 GiB of 121.69 GiB are available")
    assert words in warning


def test_ordinary_programs_are_not_the_driver():
    memory = meminfo(127600748, 40_000_000, 38_000_000, Buffers=100_000, Cached=2_000_000,
        AnonPages=83_000_000, Slab=500_000)  # fmt: skip
    machine = detect(Replay(ran(linux(memory, GB10_CARD), **{" ".join(HELD_QUERY): ""})))
    assert told(machine, "are in use. Stop other engines and large programs")


def test_the_page_cache_comes_back_by_itself():
    (advice,) = detect(Replay(linux(GB10_IDLE, GB10_CARD))).advice
    assert "nothing to undo" in advice.undo
    assert "11.85 GiB are cache" in advice.what


def test_a_clone_in_a_container_needs_no_nvidia_smi():
    board = {"/sys/class/dmi/id/product_name": "HP ZGX Nano G1n AI Station\n"}
    machine = detect(Replay(linux(GB10_IDLE, pci="10DE:2E12", files=board, arch="aarch64")))
    assert machine.platform is Platform.GB10
    assert "nvidia-smi" in machine.unknown


def test_a_board_that_happens_to_be_called_thor_is_no_jetson():
    files = {"/sys/class/dmi/id/product_name": "Thor 16\n"}
    card = f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 32000, 12.0, 580"
    assert not detect(Replay(linux(HOST_128, card, files=files))).unified


def sliced(mode: str, *cards: str) -> Machine:
    answer = f"{ADA}, {mode}\n{BLACK}, Disabled\n"
    return detect(Replay(ran(linux(HOST_128, *cards), **{" ".join(MIG_QUERY): answer})))


H100 = f"NVIDIA H100 80GB HBM3, {ADA}, 81559, 81000, 9.0, 580"


def test_a_card_in_slices_has_no_known_size():
    machine = sliced("Enabled", H100)
    assert (machine.platform, machine.limit_bytes) == (Platform.CUDA, 0)
    assert "memory of NVIDIA H100 80GB HBM3" in machine.unknown
    assert told(machine, "MIG")
    assert sliced("Disabled", H100).limit_bytes == 81559 * MIB
    assert sliced("[N/A]", H100).limit_bytes == 81559 * MIB


def test_the_engine_tells_the_size_of_a_slice():
    capture = ran(
        linux(HOST_128, H100),
        **{
            " ".join(MIG_QUERY): f"{ADA}, Enabled\n",
            "llama-server --list-devices": "Available devices:\n"
            "  CUDA0: NVIDIA H100 80GB HBM3 MIG 3g.40gb (40192 MiB, 40000 MiB free)\n",
        },
    )
    machine = detect(Replay(capture))
    assert (machine.limit_bytes, machine.reserve_bytes) == (40192 * MIB, 644245094)


def test_only_the_cut_card_is_unknown():
    other = f"NVIDIA H100 80GB HBM3, {BLACK}, 81559, 81000, 9.0, 580"
    assert sliced("Enabled", H100, other).limit_bytes == 81559 * MIB


# --- Strix Halo under Linux

TUNED = (127098456, 2147483648, 120259084288, 29360128)


@pytest.mark.parametrize(
    ("release", "sound"),
    [
        ("6.18.4-200.fc43.x86_64", True),
        ("6.18.3-200.fc43.x86_64", False),
        ("7.0.0-14-generic", True),
        ("6.18-arch1", False),
        ("6.19-arch1", True),
        ("6.17.0-14-generic", True),  # Ubuntu's HWE
        ("6.17.9-200.fc43.x86_64", False),
        ("6.14.0-1018-oem", True),
        ("6.14.0-37-generic", False),
        ("6.8.0-100-generic", False),
    ],
)
def test_kernels_that_are_not_sound_are_told_with_those_that_are(release, sound):
    machine = detect(Replay(strix(*TUNED, files={OSRELEASE: f"{release}\n"})))
    assert told(machine, "not known to be stable") != sound
    assert told(machine, f"Linux {release}") != sound
    assert told(machine, "6.18.4") != sound
    assert "kernel version" not in machine.unknown


def test_the_kernel_matters_on_strix_halo_alone():
    machine = detect(Replay(linux(HOST_128, files={OSRELEASE: "5.15.0-1-generic\n"})))
    assert machine.warnings == ()


@pytest.mark.parametrize(
    ("query", "answer", "bad"),
    [
        ("dpkg-query -W -f=${Version} linux-firmware", "20251125-1", True),
        ("dpkg-query -W -f=${Version} linux-firmware", "20240318.git3b128b60-0ubuntu2.22", False),
        ("rpm -q linux-firmware", "linux-firmware-20251125-1.fc43.noarch\n", True),
        ("rpm -q linux-firmware", "linux-firmware-20260110-1.fc43.noarch\n", False),
        ("pacman -Q linux-firmware", "linux-firmware 20251125-2\n", True),
    ],
)
def test_the_firmware_that_breaks_rocm_is_told(query, answer, bad):
    machine = detect(Replay(ran(strix(*TUNED), **{query: answer})))
    assert told(machine, "linux-firmware 20251125 breaks ROCm") == bad


def test_a_missing_kfd_leaves_vulkan():
    whole = strix(*TUNED)
    files = {path: text for path, text in whole.files.items() if "kfd" not in path}
    machine = detect(Replay(replace(whole, files=files)))
    assert told(machine, "/dev/kfd is missing")
    assert not told(detect(Replay(whole)), "/dev/kfd is missing")


@pytest.mark.parametrize(
    ("gtt_gib", "pages_gib", "differ"), [(112, 112, False), (128, 62, True), (62, 112, True)]
)
def test_gtt_and_ttm_that_disagree_are_told(gtt_gib, pages_gib, differ):
    capture = strix(int(124.92 * MIB), 536870912, gtt_gib * GIB, pages_gib * 262144)
    machine = detect(Replay(capture))
    assert told(machine, f"GTT is {gtt_gib}.00 GiB and ttm.pages_limit grants") == differ
    assert machine.limit_bytes == min(gtt_gib, pages_gib) * GIB


def test_where_ttm_grants_it_already_gtt_itself_is_raised():
    # kyuz0 98: kernel 6.8 needed both
    machine = detect(Replay(strix(int(125 * MIB), 536870912, 62 * GIB, 116 * 262144)))
    (advice,) = machine.advice
    assert "options amdgpu gttsize=118784" in advice.command
    assert "amdgpu.gttsize=118784" in advice.what


def test_gtt_advice_names_the_kernel_parameter_and_what_comes_of_it():
    machine = detect(Replay(strix(131_000_000, 536870912, 63968 * MIB)))
    (advice,) = machine.advice
    assert "ttm.pages_limit=30408704" in advice.what
    assert "62.47 GiB now" in advice.what
    assert advice.limit_after == 116 * GIB


@pytest.mark.parametrize(
    ("anon", "gtt_used", "lost"),
    [(1_000_000, 0, True), (60_000_000, 0, False), (1_000_000, 48 * GIB, False)],
)
def test_memory_that_the_driver_lost_is_told(anon, gtt_used, lost):
    memory = meminfo(127098456, 70_000_000, 69_000_000, Buffers=0, Cached=1_000_000,
        AnonPages=anon, Slab=1_000_000)  # fmt: skip
    files = {"/proc/meminfo": memory,
             "/sys/class/drm/card1/device/mem_info_gtt_used": str(gtt_used)}  # fmt: skip
    machine = detect(Replay(strix(*TUNED, files=files)))
    assert told(machine, "a restart of the computer frees them") == lost
    assert told(machine, "52.55 GiB of RAM belong to no program") == lost


# --- Windows


def heaps(*sizes: int, count: int | None = None) -> str:
    lines = [f"memoryHeaps: count = {len(sizes) if count is None else count}"]
    for number, size in enumerate(sizes):
        lines += [
            f"\tmemoryHeaps[{number}]:",
            f"\t\tsize   = {size} (0x{size:x}) ({size / GIB:.2f} GiB)",
            f"\t\tbudget = {size // 2} (0x1) (1.00 GiB)",
            "\t\tusage  = 0 (0x00000000) (0.00 B)",
            "\t\tflags: count = 1",
            "\t\t\tMEMORY_HEAP_DEVICE_LOCAL_BIT",
        ]
    return "\n".join([*lines, "memoryTypes: count = 1", "\tmemoryTypes[0]:", "\t\tsize = 7"])


def device(number: int, *memory: str, **other: str) -> str:
    # public record: GMKtec EVO-X2 128 GB, Windows 11
    known = {
        "apiVersion": "1.4.315 (4211003)",
        "vendorID": "0x1002",
        "deviceID": "0x1586",
        "deviceType": "PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU",
        "deviceName": "AMD Radeon(TM) 8060S Graphics",
        "driverID": "DRIVER_ID_AMD_PROPRIETARY",
    }
    pairs = [f"\t{key:18} = {value}" for key, value in (known | other).items()]
    return "\n".join([f"GPU{number}:", "VkPhysicalDeviceProperties:", "-----", *pairs, *memory, ""])


HEAD = (
    "==========\nVULKANINFO\n==========\n\nVulkan Instance Version: 1.4.335\n\n"
    "Presentable Surfaces:\n=====\nGPU id : 0 (AMD Radeon(TM) 8060S Graphics) [VK_KHR_win32]:\n"
    "\tmaxImageArrayLayers = 2048\nDevice Properties and Extensions:\n=====\n"
)
# unsloth PR 10418: 36.21 and 72.41 GiB
TWO_HEAPS = heaps(38880149504, 77749682176)
SUM = 38880149504 + 77749682176
DOZEN = device(1, heaps(200 * GIB), driverID="DRIVER_ID_MESA_DOZEN")


@pytest.mark.parametrize(
    ("text", "total"),
    [
        (HEAD + device(0, TWO_HEAPS), SUM),
        # fastfetch 1621: called discrete
        (HEAD + device(0, TWO_HEAPS, deviceType="PHYSICAL_DEVICE_TYPE_DISCRETE_GPU"), SUM),
        # the size behind the heap's own line
        (HEAD + device(0, "memoryHeaps: count = 1\nmemoryHeaps[0]: size = 38880149504 "
            "(0x90d700000) (36.21 GiB)"), 38880149504),
        # beside a card, the processor, and Dozen
        (HEAD + device(0, heaps(32 * GIB), deviceID="0x7551") + device(1, TWO_HEAPS), SUM),
        (HEAD + device(0, heaps(64 * GIB), deviceType="PHYSICAL_DEVICE_TYPE_CPU"), None),
        (HEAD + DOZEN, None),
        (HEAD + device(0, heaps(GIB), deviceName="Microsoft Direct3D12 (Radeon 8060S)"), None),
        (HEAD + device(0, TWO_HEAPS) + DOZEN, SUM),
        # Vulkan-Tools 1195: listed twice
        (HEAD + device(0, TWO_HEAPS) + device(1, TWO_HEAPS), SUM),
        # a summary before, without heaps
        (HEAD + device(0) + device(0, TWO_HEAPS), SUM),
        # a heap that is missing, cut off, or absurd
        (HEAD + device(0, heaps(38880149504, count=2)), None),
        (HEAD + device(0, "memoryHeaps: count = 1\n\tmemoryHeaps[0]:\n"), None),
        (HEAD + device(0, heaps(38880149504, 1 << 63)), None),
        (HEAD + device(0), None),
        (HEAD, None),
        (None, None),
    ],
)  # fmt: skip
def test_the_heaps_of_the_graphics_are_added_up(text, total):
    assert vulkan_info.heap_bytes(text, "1002:1586") == total
    if text:
        assert vulkan_info.heap_bytes(text.replace("\n", "\r\n"), "1002:1586") == total


@given(st.lists(st.sampled_from((HEAD + device(0, TWO_HEAPS)).splitlines()) | st.text()))
def test_vulkaninfo_of_any_kind_is_survived(lines):
    total = vulkan_info.heap_bytes("\n".join(lines), "1002:1586")
    assert total is None or total > 0


def test_vulkaninfo_wins_over_the_table():
    capture = windows(63.65, (RADEON, STRIX_ID, 64 * GIB, DRIVER))
    assert detect(Replay(capture)).limit_bytes == int(111.65 * GIB)
    assert "vulkaninfo" in detect(Replay(capture)).unknown
    machine = detect(Replay(ran(capture, vulkaninfo=HEAD + device(0, TWO_HEAPS))))
    assert machine.limit_bytes == SUM
    assert "vulkaninfo" in machine.limit_source
    assert "vulkaninfo" not in machine.unknown


def test_vulkaninfo_tells_where_the_registry_is_silent():
    capture = windows(63.65, present=[{"name": RADEON, "id": STRIX_ID}])
    machine = detect(Replay(ran(capture, vulkaninfo=HEAD + device(0, TWO_HEAPS))))
    assert (machine.limit_bytes, machine.memory_bytes) == (SUM, SUM)


def test_heaps_are_never_more_than_the_computer():
    capture = windows(31.78, (RADEON, STRIX_ID, 32 * GIB, DRIVER))
    machine = detect(Replay(ran(capture, vulkaninfo=HEAD + device(0, heaps(120 * GIB)))))
    assert machine.limit_bytes == machine.memory_bytes == int(31.78 * MIB) * KIB + 32 * GIB


@pytest.mark.parametrize(("visible", "carve_out", "advised"), [
    (95.78, 32, True), (63.65, 64, False), (31.78, 96, True),
    (31.78, 32, False),  # a computer of 64 GB
])  # fmt: skip
def test_half_and_half_is_advised(visible, carve_out, advised):
    machine = detect(Replay(windows(visible, (RADEON, STRIX_ID, carve_out * GIB, DRIVER))))
    assert [("64 GB" in a.command, f"{carve_out} GB" in a.undo) for a in machine.advice] == [
        (True, True)
    ] * advised


def test_the_32_bits_of_adapterram_are_never_read():
    assert "AdapterRAM" not in " ".join(WINDOWS_ADAPTERS)


# --- what cannot be


def test_of_a_memory_of_unknown_size_nothing_is_planned():
    machine = detect(Replay(strix(0, 536870912, 900 * GIB)))
    assert machine.limit_bytes == 0
    assert "unknown" in machine.limit_source


@pytest.mark.parametrize(
    ("capture", "most"),
    [
        (linux(meminfo(64_000_000, 999_000_000)), 64_000_000 * KIB),
        (linux(meminfo(127600748, 999_000_000), GB10_CARD), 127600748 * KIB),
        (linux(meminfo(64_000_000, 60_000_000), files={
            "/sys/fs/cgroup/memory.max": f"{900 * GIB}\n"}), 60_000_000 * KIB),
        (strix(127098456, 536870912, 900 * GIB), 127098456 * KIB),
        (strix(127098456, 1 << 63, 112 * GIB), 112 * GIB),
        (strix(127098456, 500 * GIB, 112 * GIB), 112 * GIB),
        (windows(63.65, (RADEON, STRIX_ID, 500 * GIB, DRIVER)), 64 * GIB),
        (windows(63.65, (RADEON, STRIX_ID, 1 << 62, DRIVER)), 64 * GIB),
        (linux(HOST_128, f"NVIDIA X, {ADA}, 2097152, 2097152, 9.0, 580"), 120_000_000 * KIB),
        (linux(HOST_128, f"NVIDIA X, {ADA}, -1, -1, 9.0, 580"), 120_000_000 * KIB),
        # a comma is a decimal mark: less, and never more
        (linux(HOST_128, f"NVIDIA X, {ADA}, 81,559, 81,000, 9.0, 580"), 120_000_000 * KIB),
    ],
)  # fmt: skip
def test_no_plan_is_larger_than_the_computer(capture, most):
    machine = detect(Replay(capture))
    assert 0 < machine.limit_bytes <= most
    assert machine.reserve_bytes <= machine.limit_bytes


def test_available_is_never_more_than_there_is():
    machine = detect(Replay(linux(meminfo(64_000_000, 999_000_000))))
    assert machine.available_bytes == 64_000_000 * KIB


def test_free_is_never_more_than_the_card_has():
    card = f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 99999, 12.0, 580"
    (device,) = detect(Replay(linux(HOST_128, card))).devices
    assert device.free_bytes == 32607 * MIB


def test_colours_and_translations_do_no_harm():
    card = f"\x1b[32mNVIDIA GeForce RTX 5090\x1b[0m, {ADA}, 32607 MiB, Nicht verfügbar, 12.0, 580"
    (device,) = detect(Replay(linux(HOST_128, card))).devices
    assert (device.name, device.memory_bytes) == ("NVIDIA GeForce RTX 5090", 32607 * MIB)
    assert device.free_bytes is None


# --- other cards


def amd(vram: int, pci: str = "0x7480") -> Capture:
    folder = "/sys/class/drm/card0/device"
    return linux(HOST_128, pci="1002:7480", files={f"{folder}/vendor": "0x1002",
        f"{folder}/device": pci, f"{folder}/mem_info_vram_total": f"{vram}"})  # fmt: skip


@pytest.mark.parametrize(("vram", "told_of"), [(4 * GIB, True), (GIB // 2, False)])
def test_small_amd_cards_are_told_and_not_counted(vram, told_of):
    machine = detect(Replay(amd(vram)))
    assert machine.platform is Platform.CPU
    assert told(machine, "too little to count on") == told_of


def test_small_amd_cards_under_windows_too():
    small = ("AMD Radeon RX 6400", "PCI\\VEN_1002&DEV_743F", 4 * GIB, DRIVER)
    machine = detect(Replay(windows(64, small)))
    assert machine.platform is Platform.CPU
    assert told(machine, "AMD Radeon RX 6400 has 4.00 GiB")


@pytest.mark.parametrize(
    ("pci", "words"),
    [
        ("8086:E20B", "A card by Intel Arc"),  # B580
        ("8086:56A0", "A card by Intel Arc"),  # A770
        ("1ED5:0323", "A card by Moore Threads"),
        ("1002:744C", "An AMD card is present, but amdgpu does not answer"),  # 7900 XTX
        ("8086:4680", ""),  # UHD Graphics 770, inside a processor
        ("1002:164E", ""),  # Raphael, inside a processor
    ],
)
def test_a_card_that_is_not_planned_for_is_no_silence(pci, words):
    machine = detect(Replay(linux(HOST_128, pci=pci)))
    assert machine.platform is Platform.CPU
    assert told(machine, words) == bool(words)
    assert bool(machine.warnings) == bool(words)


def test_cards_not_planned_for_are_told_under_windows_too():
    present = [{"name": "Intel(R) Arc(TM) B580", "id": "PCI\\VEN_8086&DEV_E20B&SUBSYS_1"}]
    assert told(detect(Replay(windows(64, present=present))), "Intel Arc")


def test_a_card_beside_strix_halo_is_another_way():
    folder = "/sys/class/drm/card2/device"
    files = {f"{folder}/vendor": "0x1002", f"{folder}/device": "0x7551",
             f"{folder}/product_name": "AMD Radeon AI PRO R9700",
             f"{folder}/mem_info_vram_total": f"{32 * GIB}"}  # fmt: skip
    machine = detect(Replay(strix(*TUNED, files=files)))
    assert machine.platform is Platform.STRIX_HALO
    (other,) = machine.alternatives
    assert [device.name for device in other.devices] == ["AMD Radeon AI PRO R9700"]
    assert (other.platform, other.limit_bytes) == (Platform.ROCM, 32 * GIB)


def test_cards_keep_main_memory_apart():
    card = f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 32000, 12.0, 580"
    machine = detect(Replay(linux(HOST_128, card)))
    assert (machine.available_bytes, machine.memory_bytes) == (120_000_000 * KIB, 131_000_000 * KIB)


def test_hidden_memory_is_unknown_where_the_kernel_names_too_little():
    assert read_host(Replay(linux(HOST_128)), Notes()).hidden_bytes is None
    assert PCI in linux(HOST_128).files


def test_a_container_without_sysfs_is_known_by_lspci():
    """There nvidia-smi may be missing as well, and the name is the PCI line."""
    line = "000f:01:00.0 3D controller [0302]: NVIDIA Corporation Device [10de:2e12] (rev a1)\n"
    other = "0000:00:00.0 Host bridge [0600]: Intel Corporation Device [8086:1234]\n"
    files = {"/proc/meminfo": meminfo(127600748, 118566368)}
    capture = Capture("linux-aarch64", files, {"lspci -nn": Ran(0, other + line)})
    assert detect(Replay(capture)).platform is Platform.GB10


def test_a_strix_halo_is_known_by_its_processor_where_graphics_are_hidden():
    cpu = "processor: 0\nmodel name: AMD RYZEN AI MAX+ PRO 395 w/ Radeon 8060S\n"
    files = {"/proc/meminfo": meminfo(127098456, 120_000_000), "/proc/cpuinfo": cpu}
    machine = detect(Replay(Capture("linux-x86_64", files)))
    assert machine.platform is Platform.STRIX_HALO
    assert machine.limit_bytes <= machine.memory_bytes // 2, "the driver's default, as none tells"


def test_without_memavailable_what_is_free_counts():
    lines = "MemTotal: 127600748 kB\nMemFree: 99159460 kB\n"
    machine = detect(Replay(Capture("linux-x86_64", {"/proc/meminfo": lines})))
    assert machine.limit_bytes == 99159460 * KIB
    assert "MemFree" in machine.limit_source


def test_a_card_whose_memory_cannot_be_read_is_named():
    machine = detect(Replay(linux(HOST_128, f"NVIDIA GeForce RTX 4090, {ADA}, [N/A], , 8.9, 580")))
    assert machine.backend is Backend.CPU
    assert any(
        "memory of NVIDIA GeForce RTX 4090 cannot be read" in warning
        for warning in machine.warnings
    )


def test_an_old_macos_is_known_by_sw_vers_too():
    said = {
        "sysctl -n hw.memsize": Ran(0, f"{128 * GIB}\n"),
        "sysctl -n hw.optional.arm64": Ran(0, "1\n"),
        "sw_vers": Ran(0, "ProductName: macOS\nProductVersion: 14.5\nBuildVersion: 23F79\n"),
    }
    machine = detect(Replay(Capture("darwin-arm64", {}, said)))
    assert machine.limit_bytes == 96 * GIB


@pytest.mark.parametrize(
    ("available", "kept"),
    [(64 << 30, 2 << 30), (4 << 30, 2 << 30), (2200 << 20, 1100 << 20), (0, 0)],
)
def test_a_small_memory_is_not_all_reserve(available: int, kept: int) -> None:
    """Of 2.15 GiB free, 2.00 were kept, so that a model of 8 MB was refused."""
    host = HostFacts("linux", "x86_64", "cpu", 128 << 30, available, "MemAvailable")
    assert host.machine().reserve_bytes == kept
