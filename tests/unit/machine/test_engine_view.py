"""The engine's own device list: read right, believed within bounds, and told where it differs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.units import GIB, KIB, MIB
from runner.machine.captures.capture import Capture, Ran, Replay
from runner.machine.facts import Backend, Machine, Platform
from runner.machine.probe import detect
from runner.machine.probes import engine_view
from tests.unit.machine.machine_captures import (
    ADA,
    BLACK,
    DRIVER,
    GB10_CARD,
    GB10_IDLE,
    HOST_128,
    RADEON,
    STRIX_ID,
    linux,
    mac,
    meminfo,
    strix,
    windows,
)

# public record: llama-server --list-devices on an M4 Max 128, stock wired limit
M4_MAX = """\
ggml_metal_device_init: GPU name:   MTL0
ggml_metal_device_init: has unified memory    = true
ggml_metal_device_init: recommendedMaxWorkingSetSize  = 115448.73 MB
Available devices:
  MTL0: Apple M4 Max (110100 MiB, 110100 MiB free)
  BLAS: Accelerate (0 MiB, 0 MiB free)
"""
GB10 = "Available devices:\n  CUDA0: NVIDIA GB10 (124610 MiB, 112000 MiB free)\n"
# ollama 16508: a log line between, and what CUDA shows of 12288 and 24467 MiB
TWO_CARDS = """\
0.00.352.296 I cmn  common_param: common_params_print_info: build 1 (b4d6c7d8f)
Available devices:
  CUDA0: NVIDIA GeForce RTX 3080 Ti (11909 MiB, 11650 MiB free)
  CUDA1: NVIDIA RTX PRO 4000 Blackwell SFF Edition (24026 MiB, 23795 MiB free)
ggml_cuda_init: found 2 CUDA devices (Total VRAM: 35936 MiB):
  Device 0: NVIDIA GeForce RTX 3080 Ti, compute capability 8.6, VMM: yes, VRAM: 11909 MiB
"""
STRIX_112 = strix(127098456, 2147483648, 120259084288, 29360128)
RADV = "AMD Radeon 8060S Graphics (RADV STRIX_HALO)"
MIX = linux(
    HOST_128,
    f"NVIDIA GeForce RTX 5090, {BLACK}, 32607, 32000, 12.0, 580",
    f"NVIDIA RTX PRO 6000 Blackwell, {ADA}, 97887, 97000, 12.0, 580",
)


def listing(*lines: str) -> str:
    return "Available devices:\n" + "".join(f"  {line}\n" for line in lines)


def with_engine(capture: Capture, *lines: str, text: str = "", exit_code: int = 0) -> Machine:
    ran = Ran(exit_code, text or listing(*lines))
    commands = {**capture.commands, "llama-server --list-devices": ran}
    return detect(Replay(replace(capture, commands=commands)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (M4_MAX, [("MTL0", Backend.METAL, "Apple M4 Max", 110100, 110100)]),
        (GB10, [("CUDA0", Backend.CUDA, "NVIDIA GB10", 124610, 112000)]),
        (TWO_CARDS, [
            ("CUDA0", Backend.CUDA, "NVIDIA GeForce RTX 3080 Ti", 11909, 11650),
            ("CUDA1", Backend.CUDA, "NVIDIA RTX PRO 4000 Blackwell SFF Edition", 24026, 23795)]),
        (listing(f"Vulkan0: {RADV} (116736 MiB, 116000 MiB free)",
                 "ROCm0: AMD Radeon 8060S Graphics (114688 MiB, 114000 MiB free)"), [
            ("Vulkan0", Backend.VULKAN, RADV, 116736, 116000),
            ("ROCm0", Backend.ROCM, "AMD Radeon 8060S Graphics", 114688, 114000)]),
        # before Metal devices had numbers
        (listing("Metal: Apple M1 (5461 MiB, 5461 MiB free)"),
         [("Metal", Backend.METAL, "Apple M1", 5461, 5461)]),
        # colours, and more free than there is
        ("Available devices:\n\x1b[32m  CUDA0: X 9\x1b[0m (10 MiB, 11 MiB free)\r\n",
         [("CUDA0", Backend.CUDA, "X 9", 10, 10)]),
        (listing("Vulkan0: llvmpipe (LLVM 20.1.2, 256 bits) (64000 MiB, 60000 MiB free)"), []),
        # llama.cpp PR 16689: Dozen as ggml lists it
        (listing("Vulkan0: Microsoft Direct3D12 (AMD Radeon(TM) Graphics) (64000 MiB, 6 MiB free)"),
         []),
        (listing("SYCL0: Intel(R) Arc(TM) B580 (11605 MiB, 11000 MiB free)",
                 "RPC0: 10.0.0.2:50052 (9000 MiB, 9000 MiB free)"), []),
        (listing("(none)"), []),
        (listing("CUDA0: NVIDIA X (0 MiB, 0 MiB free)"), []),
    ],
)  # fmt: skip
def test_the_list_is_read(text, found):
    assert engine_view.parse_devices(text) == tuple(
        engine_view.ListedDevice(number, backend, name, total * MIB, free * MIB)
        for number, backend, name, total, free in found
    )


@pytest.mark.parametrize("text", [None, "", "error: invalid argument: --list-devices\n", "usage:"])
def test_what_is_no_list_says_nothing(text):
    assert engine_view.parse_devices(text) is None
    machine = detect(Replay(mac(128)))
    assert engine_view.apply(machine, text) == machine


def test_a_failing_or_absent_engine_changes_nothing():
    machine = detect(Replay(mac(192)))
    assert with_engine(mac(192), "MTL0: Apple M4 Max (9 MiB, 9 MiB free)", exit_code=1) == machine


def test_metal_is_believed_and_needs_no_word_where_it_agrees():
    machine = with_engine(mac(128), text=M4_MAX)
    assert machine.limit_bytes == 110100 * MIB
    assert machine.limit_source == "MTL0 in the device list of the llama-server on the PATH"
    assert machine.warnings == ()
    (device,) = machine.devices
    assert (device.engine_name, device.memory_bytes) == ("MTL0", 110100 * MIB)


@pytest.mark.parametrize(("mib", "told"), [(109050, False), (108950, True), (111300, True)])
def test_one_percent_is_the_mark(mib, told):
    machine = with_engine(mac(128), f"MTL0: Apple M4 Max ({mib} MiB, 1 MiB free)")
    assert machine.limit_bytes == mib * MIB
    assert len(machine.warnings) == told
    if told:
        figures = f"{mib / 1024:.2f} GiB of memory for Apple M4 Max, and steprun 107.52 GiB"
        assert figures in machine.warnings[0]
        assert f"{mib / 1024:.2f} GiB are used" in machine.warnings[0]


def test_an_unmeasured_mac_is_what_its_engine_says():
    guess = detect(Replay(mac(192, "Apple M2 Ultra")))
    assert "no measurement for this size" in guess.limit_source
    machine = with_engine(
        mac(192, "Apple M2 Ultra"), "MTL0: Apple M2 Ultra (172032 MiB, 9 MiB free)"
    )
    assert machine.limit_bytes == 168 * GIB


def test_no_engine_makes_a_computer_larger_than_it_is():
    machine = with_engine(mac(128), "MTL0: Apple M4 Max (999999 MiB, 999999 MiB free)")
    assert machine.limit_bytes == 128 * GIB
    assert "976.56 GiB" in machine.warnings[0]
    assert "128.00 GiB are used" in machine.warnings[0]


def test_a_mac_that_tells_no_memory_gets_it_from_the_engine():
    silent = Capture("darwin-arm64", {}, {"sysctl -n hw.optional.arm64": Ran(0, "1\n")})
    machine = with_engine(silent, text=M4_MAX)
    assert machine.limit_bytes == 110100 * MIB
    assert machine.reserve_bytes == 2 * GIB


def test_advice_that_the_engine_overtook_is_gone():
    assert detect(Replay(mac(128))).advice[0].limit_after == 112 * GIB
    above = with_engine(mac(128), "MTL0: Apple M4 Max (116000 MiB, 116000 MiB free)")
    assert above.advice == ()
    below = with_engine(mac(128), "MTL0: Apple M4 Max (98304 MiB, 98304 MiB free)")
    assert below.limit_bytes == 96 * GIB
    assert len(below.advice) == 1


def test_gb10_keeps_to_what_is_available():
    card = linux(GB10_IDLE, GB10_CARD, arch="aarch64")
    machine = with_engine(card, text=GB10)
    plain = detect(Replay(card))
    assert (machine.limit_bytes, machine.limit_source) == (111584904 * KIB, plain.limit_source)
    assert machine.warnings == plain.warnings
    (device,) = machine.devices
    assert (device.engine_name, device.memory_bytes) == ("CUDA0", None)


def test_gb10_never_gets_more_than_its_engine_counts():
    card = linux(GB10_IDLE, GB10_CARD, arch="aarch64")
    machine = with_engine(card, "CUDA0: NVIDIA GB10 (102400 MiB, 99000 MiB free)")
    assert machine.limit_bytes == 100 * GIB
    assert "100.00 GiB of memory for NVIDIA GB10, and steprun 106.42 GiB" in machine.warnings[0]


def test_a_card_beside_gb10_is_not_taken_for_it():
    both = linux(
        GB10_IDLE,
        f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 32000, 12.0, 580",
        GB10_CARD,
        arch="aarch64",
    )
    machine = with_engine(
        both,
        "CUDA0: NVIDIA GeForce RTX 5090 (32109 MiB, 31000 MiB free)",
        "CUDA1: NVIDIA GB10 (124610 MiB, 112000 MiB free)",
    )
    assert machine.platform is Platform.GB10
    assert machine.limit_bytes == 111584904 * KIB
    assert machine.devices[0].engine_name == "CUDA1"
    assert machine.warnings == ()
    (other,) = machine.alternatives
    assert [device.engine_name for device in other.devices] == ["CUDA0"]


def test_vulkan_counts_the_small_carve_out_too():
    machine = with_engine(STRIX_112, f"Vulkan0: {RADV} (116736 MiB, 110000 MiB free)")
    assert machine.limit_bytes == 114 * GIB  # 2 GiB of its own, 112 shared
    assert machine.warnings == detect(Replay(STRIX_112)).warnings


def test_the_kernel_grants_what_it_grants():
    # unsloth PR 7960: amdgpu.gttsize=131072 alone; Vulkan then believes in 128.5 GiB
    lied = strix(int(124.92 * MIB), 536870912, 128 * GIB, int(62.47 * 262144))
    machine = with_engine(lied, f"Vulkan0: {RADV} (131584 MiB, 110000 MiB free)")
    assert machine.limit_bytes == int(62.47 * 262144) * 4096 + 536870912
    assert any("128.50 GiB" in warning and "62.97 GiB are used" in warning
               for warning in machine.warnings)  # fmt: skip


def test_an_engine_for_rocm_speaks_for_vulkan():
    machine = with_engine(STRIX_112, "ROCm0: AMD Radeon Graphics (102400 MiB, 99000 MiB free)")
    assert machine.backend is Backend.VULKAN
    assert machine.limit_bytes == 100 * GIB
    assert machine.devices[0].engine_name == "ROCm0"


# kyuz0's logs: two versions of Mesa
@pytest.mark.parametrize(
    "mesa", ["AMD Radeon Graphics (RADV GFX1151)", RADV, "AMD Radeon Graphics"]
)
def test_one_chip_has_several_names(mesa):
    machine = with_engine(STRIX_112, f"Vulkan0: {mesa} (77824 MiB, 77000 MiB free)")
    assert machine.limit_bytes == 76 * GIB


def test_windows_takes_the_engines_sum_of_heaps():
    old = windows(64, (RADEON, STRIX_ID, 64 * GIB, "32.0.21013.1000"))
    assert detect(Replay(old)).limit_bytes == 96 * GIB
    machine = with_engine(old, f"Vulkan0: {RADEON} (114330 MiB, 114000 MiB free)")
    assert machine.limit_bytes == 114330 * MIB
    assert "96.00 GiB" in machine.warnings[0]
    measured = windows(63.65, (RADEON, STRIX_ID, 64 * GIB, DRIVER))
    assert with_engine(measured, f"Vulkan0: {RADEON} (114330 MiB, 9 MiB free)").warnings == ()


def test_cards_are_found_whatever_their_order():
    machine = with_engine(
        MIX,
        "CUDA0: NVIDIA RTX PRO 6000 Blackwell Workstation Edition (97252 MiB, 96500 MiB free)",
        "CUDA1: NVIDIA GeForce RTX 5090 (32109 MiB, 31500 MiB free)",
    )
    assert [
        (d.name, d.memory_bytes, d.free_bytes, d.uuid, d.engine_name) for d in machine.devices
    ] == [
        ("NVIDIA GeForce RTX 5090", 32109 * MIB, 31500 * MIB, BLACK, "CUDA1"),
        ("NVIDIA RTX PRO 6000 Blackwell", 97252 * MIB, 96500 * MIB, ADA, "CUDA0"),
    ]
    assert machine.limit_bytes == (97252 + 32109) * MIB
    assert machine.warnings == ()  # what a driver keeps of each card is no news
    assert machine.available_bytes == 120_000_000 * KIB
    assert "2 cards, as listed by the llama-server on the PATH" in machine.limit_source


def test_a_card_that_the_engine_does_not_list_is_not_counted():
    # as with CUDA_VISIBLE_DEVICES
    machine = with_engine(MIX, "CUDA0: NVIDIA RTX PRO 6000 Blackwell (97252 MiB, 96500 MiB free)")
    assert [device.uuid for device in machine.devices] == [ADA]
    assert (machine.name, machine.limit_bytes) == ("NVIDIA RTX PRO 6000 Blackwell", 97252 * MIB)
    assert machine.reserve_bytes == 644245094
    assert machine.warnings == (
        "The llama-server on the PATH does not list NVIDIA GeForce RTX 5090: it is not counted.",
    )


def test_cards_of_one_family_are_told_apart():
    cards = linux(
        HOST_128,
        f"NVIDIA RTX PRO 6000 Blackwell, {ADA}, 97887, 97000, 12.0, 580",
        f"NVIDIA RTX PRO 4000 Blackwell, {BLACK}, 24467, 24000, 12.0, 580",
    )
    machine = with_engine(cards, "CUDA0: NVIDIA RTX PRO 4000 Blackwell (24026 MiB, 1 MiB free)")
    assert [device.uuid for device in machine.devices] == [BLACK]


def test_equal_cards_are_each_counted_once():
    cards = linux(HOST_128, *[f"NVIDIA GeForce RTX 5090, GPU-{n}, 32607, 32000, 12.0, 580"
        for n in range(4)])  # fmt: skip
    lines = [
        f"CUDA{n}: NVIDIA GeForce RTX 5090 (32109 MiB, {31000 + n} MiB free)" for n in range(4)
    ]
    machine = with_engine(cards, *lines)
    assert [device.engine_name for device in machine.devices] == [
        "CUDA0",
        "CUDA1",
        "CUDA2",
        "CUDA3",
    ]
    assert machine.limit_bytes == 4 * 32109 * MIB
    assert machine.name == "4x NVIDIA GeForce RTX 5090"


def test_a_card_listed_by_two_backends_counts_once():
    card = linux(HOST_128, f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 32000, 12.0, 580")
    machine = with_engine(
        card,
        "Vulkan0: NVIDIA GeForce RTX 5090 (32607 MiB, 32000 MiB free)",
        "CUDA0: NVIDIA GeForce RTX 5090 (32109 MiB, 31500 MiB free)",
    )
    assert machine.devices[0].engine_name == "CUDA0"


@pytest.mark.parametrize(("mib", "limit"), [(24000, 24000), (49152, 32607)])
def test_a_cards_total_that_is_far_off_is_told_and_never_raised(mib, limit):
    card = linux(HOST_128, f"NVIDIA GeForce RTX 5090, {ADA}, 32607, 32000, 12.0, 580")
    machine = with_engine(card, f"CUDA0: NVIDIA GeForce RTX 5090 ({mib} MiB, 40000 MiB free)")
    assert machine.limit_bytes == limit * MIB
    assert machine.devices[0].free_bytes == min(mib, 40000, limit) * MIB
    assert f"{mib / 1024:.2f} GiB" in machine.warnings[0]
    assert "31.84 GiB" in machine.warnings[0]


@pytest.mark.parametrize(
    ("capture", "name"),
    [
        (mac(128), "Apple M4 Max"),
        (linux(GB10_IDLE, GB10_CARD), "NVIDIA GB10"),
        (STRIX_112, "AMD Strix Halo (Radeon 8060S)"),
        (MIX, "NVIDIA GeForce RTX 5090 + NVIDIA RTX PRO 6000 Blackwell"),
    ],
)
@pytest.mark.parametrize("line", ["(none)", "BLAS: OpenBLAS (0 MiB, 0 MiB free)"])
def test_an_engine_without_the_accelerator_is_told_and_changes_no_figure(capture, name, line):
    plain = detect(Replay(capture))
    machine = with_engine(capture, line)
    assert replace(machine, warnings=()) == replace(plain, warnings=())
    assert (
        "The llama-server on the PATH computes on the processor only: it does not list "
        f"{name}." in machine.warnings
    )


def test_another_card_is_not_taken_for_the_chip():
    machine = with_engine(STRIX_112, "Vulkan0: NVIDIA GeForce RTX 5090 (32607 MiB, 32000 MiB free)")
    assert machine.limit_bytes == 112 * GIB
    assert any("lists NVIDIA GeForce RTX 5090, and not AMD Strix" in w for w in machine.warnings)


@pytest.mark.parametrize(
    ("listed", "platform"),
    [
        ("CUDA0: NVIDIA GB10 (124610 MiB, 112000 MiB free)", Platform.GB10),
        ("CUDA0: NVIDIA GeForce RTX 5090 (32110 MiB, 31000 MiB free)", Platform.CUDA),
        ("Vulkan0: AMD Radeon 8060S Graphics (RADV GFX1151) (117760 MiB, 1 MiB free)",
            Platform.STRIX_HALO),
        ("", Platform.CPU),
    ],
)  # fmt: skip
def test_where_the_drivers_are_silent_an_engine_is_asked(listed, platform):
    """A GB10 taken for a plain computer would be given too much, and livelocks."""
    said = {" ".join(engine_view.COMMAND): Ran(0, f"Available devices:\n  {listed}\n")}
    machine = detect(Replay(Capture("linux-x86_64", {"/proc/meminfo": HOST_128}, said)))
    assert machine.platform is platform


def test_the_embedded_engine_may_be_asked_too():
    machine = engine_view.apply(detect(Replay(mac(192))), M4_MAX, "the embedded engine")
    assert machine.limit_source == "MTL0 in the device list of the embedded engine"
    assert machine.warnings[0].startswith("The embedded engine counts 107.52 GiB")


@given(
    st.lists(
        st.sampled_from(
            ["Available devices:", "MTL0: Apple M4 Max (", "CUDA0: NVIDIA GB10 (", "Vulkan1: ",
             "110100", "99999999999999", "-1", "0", " MiB, ", " MiB free)", "\n", "\0", "٣"]
        )
    ).map("".join)
    | st.text()
)  # fmt: skip
def test_nonsense_never_promises(text):
    for capture in (mac(128), linux(GB10_IDLE, GB10_CARD), STRIX_112, MIX):
        plain = detect(Replay(capture))
        machine = engine_view.apply(plain, text)
        assert 0 < machine.limit_bytes <= max(plain.memory_bytes, plain.limit_bytes)


def test_swap_never_comes_in_through_the_engine():
    # llama.cpp counts free swap as free memory since PR 17368
    swapping = linux(meminfo(127600752, 13945856, 6291456, SwapTotal=16777212), GB10_CARD)
    machine = with_engine(swapping, "CUDA0: NVIDIA GB10 (124610 MiB, 30000 MiB free)")
    assert machine.limit_bytes == 13945856 * KIB
