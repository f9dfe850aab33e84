"""All devices of a computer are weighed; each limit says where it is from, and how to change it."""

from dataclasses import replace

import pytest

from runner.base.units import GIB, KIB, MIB
from runner.catalog import models_toml
from runner.machine.captures.capture import Capture, Ran, Replay
from runner.machine.captures.scrub import Scrubber
from runner.machine.facts import Backend, Platform, as_it_is_now, on_processor
from runner.machine.probe import detect
from runner.plan.choose import Plan
from runner.plan.request import PlanRequest
from runner.run.model_ref import CatalogModel, read_model
from runner.run.prepare import choose_plan, main_machine
from tests.unit.machine.machine_captures import linux, mac, strix, windows

STEP, _ = read_model(CatalogModel(models_toml.load_catalog().models[0]), see=True)
SPARK = "MemTotal: 127600748 kB\nMemFree: 100000000 kB\nMemAvailable: 118489088 kB\n"
SMI = "nvidia-smi --query-gpu=index,name,memory.total,memory.free --format=csv,noheader,nounits"
CARD = "/sys/class/drm/card1/device"
CMDLINE = "BOOT_IMAGE=/vmlinuz root=UUID=8c1e quiet amd_iommu=off ttm.pages_limit=27262976\n"


def plan(capture: Capture, **request: object) -> Plan:
    return choose_plan(detect(Replay(capture)), STEP, PlanRequest(**request))  # type: ignore[arg-type]


def with_cards(base: Capture, *rows: str) -> Capture:
    table = "".join(f"{number}, {row}\n" for number, row in enumerate(rows))
    return replace(base, commands={**base.commands, SMI: Ran(0, table)})


def with_files(base: Capture, **files: str) -> Capture:
    return replace(base, files={**base.files, **files})


def with_free(base: Capture) -> Capture:
    meminfo = "MemTotal: 131000000 kB\nMemAvailable: 126000000 kB\n"
    return with_files(base, **{"/proc/meminfo": meminfo})


def fixes(found: Plan) -> list[str]:
    return [fix.command for fix in found.fixes]


# --- all devices together


def test_a_card_beside_an_apu_is_taken_where_the_apu_alone_would_be_refused() -> None:
    found = plan(
        with_cards(with_free(strix(131_000_000, 536870912, 62 * GIB)), "RTX 4090, 24564, 24100")
    )
    assert found.fits
    assert found.machine.backend is Backend.CUDA
    assert found.placement.n_cpu_moe
    assert any("Radeon 8060S is not used" in warning for warning in found.warnings)


def test_a_card_that_cannot_help_is_named_and_the_hosts_fix_stays() -> None:
    stock = strix(66_000_000, 536870912, 31 * GIB)
    found = plan(with_cards(stock, "RTX 3060, 12288, 12000"), quant="Q4_K_S")
    assert not found.fits
    assert sum("is not used" in warning for warning in found.warnings) == 1


def test_the_chosen_way_is_what_an_engine_is_made_for() -> None:
    machine = detect(
        Replay(
            with_cards(with_free(strix(131_000_000, 536870912, 62 * GIB)), "RTX 4090, 24564, 24100")
        )
    )
    assert machine.backend is Backend.VULKAN
    assert main_machine(machine).backend is Backend.CUDA
    assert [way.backend for way in main_machine(machine).alternatives] == [Backend.VULKAN]


def test_cards_of_two_makers_are_two_ways() -> None:
    folder = "/sys/class/drm/card2/device"
    radeon = {
        f"{folder}/vendor": "0x1002\n",
        f"{folder}/device": "0x744c\n",
        f"{folder}/product_name": "Radeon RX 7900 XTX\n",
        f"{folder}/mem_info_vram_total": f"{24 * GIB}\n",
        f"{folder}/mem_info_vram_used": f"{GIB}\n",
    }
    files = {"/proc/meminfo": "MemTotal: 131800000 kB\nMemAvailable: 126000000 kB\n", **radeon}
    capture = Capture("linux-x86_64", files, {SMI: Ran(0, "0, RTX 3090, 24576, 24000\n")})
    machine = detect(Replay(capture))
    assert len(machine.alternatives) == 1
    found = choose_plan(machine, STEP, PlanRequest())
    assert found.fits
    assert sum("is not used" in warning for warning in found.warnings) == 1


def test_a_card_beside_gb10_is_weighed_too() -> None:
    base = linux("MemTotal: 127600748 kB\nMemAvailable: 60000000 kB\n")
    found = detect(Replay(with_cards(base, "NVIDIA GB10, [N/A], [N/A]", "RTX 5090, 32607, 32000")))
    assert {found.platform, *(way.platform for way in found.alternatives)} == {
        Platform.GB10,
        Platform.CUDA,
    }


# --- where a limit is from


@pytest.mark.parametrize(
    ("files", "command", "undo"),
    [
        (
            {"/etc/os-release": "ID=ubuntu\nID_LIKE=debian\n"},
            "sudo sed -i 's/ttm\\.pages_limit=27262976\\b/ttm.pages_limit=30408704/' "
            "$(grep -ls 'ttm.pages_limit=' /etc/default/grub /etc/default/grub.d/*.cfg) && "
            "sudo update-grub",
            "s/ttm\\.pages_limit=30408704\\b/ttm.pages_limit=27262976/",
        ),
        (
            {"/etc/os-release": 'ID=fedora\nVARIANT_ID="workstation"\n'},
            "sudo grubby --update-kernel=ALL --remove-args=ttm.pages_limit=27262976 "
            "--args=ttm.pages_limit=30408704",
            "--args=ttm.pages_limit=27262976",
        ),
        (
            {"/etc/os-release": "ID=fedora\n", "/run/ostree-booted": ""},
            "sudo rpm-ostree kargs --delete-if-present=ttm.pages_limit=27262976 "
            "--append-if-missing=ttm.pages_limit=30408704",
            "--append-if-missing=ttm.pages_limit=27262976",
        ),
        (
            {"/etc/os-release": "ID=nixos\n"},
            "sudoedit /etc/nixos/configuration.nix && sudo nixos-rebuild boot",
            "put ttm.pages_limit=27262976 back",
        ),
        (
            {"/etc/os-release": "ID=cachyos\n", "/etc/default/limine": "x"},
            "/etc/default/limine && sudo limine-update",
            "27262976",
        ),
        ({}, "sudo grep -rs 'ttm.pages_limit='", "27262976"),
    ],
)
def test_a_value_on_the_kernels_command_line_is_changed_there(files, command, undo) -> None:
    base = strix(131_000_000, 536870912, 104 * GIB, 104 * 262144)
    (advice,) = detect(Replay(with_files(base, **{"/proc/cmdline": CMDLINE}, **files))).advice
    assert command in advice.command
    assert undo in advice.undo
    assert "ttm.pages_limit=27262976" in advice.what
    assert "modprobe.d/zz" not in advice.command
    assert advice.limit_after == 116 * GIB


def test_a_small_gttsize_on_the_command_line_goes_too() -> None:
    base = strix(131_000_000, 536870912, 96 * GIB, 104 * 262144)
    line = {"/proc/cmdline": "amdgpu.gttsize=98304 ttm.pages_limit=27262976 quiet\n"}
    files = {**line, "/etc/os-release": "ID=fedora\n"}
    (advice,) = detect(Replay(with_files(base, **files))).advice
    assert "--remove-args=amdgpu.gttsize=98304" in advice.command
    assert "--args=amdgpu.gttsize=98304" in advice.undo


def test_a_value_in_modprobe_is_changed_in_its_file() -> None:
    base = strix(131_000_000, 536870912, 96 * GIB, 96 * 262144)
    files = {"/etc/modprobe.d/ttm.conf": "options ttm pages_limit=25165824\n"}
    (advice,) = detect(Replay(with_files(base, **files))).advice
    assert advice.command == (
        "sudo sed -i 's/pages_limit=25165824\\b/pages_limit=30408704/' /etc/modprobe.d/ttm.conf"
    )
    assert "pages_limit=25165824/" in advice.undo


def test_nixos_needs_its_configuration_even_without_a_value() -> None:
    base = strix(131_000_000, 536870912, 62 * GIB)
    (advice,) = detect(Replay(with_files(base, **{"/etc/os-release": "ID=nixos\n"}))).advice
    assert "nixos-rebuild" in advice.command
    assert "add ttm.pages_limit=30408704 in boot.kernelParams" in advice.what


def test_a_toolboxs_own_system_does_not_decide_for_its_host() -> None:
    base = strix(131_000_000, 536870912, 96 * GIB, 96 * 262144)
    files = {"/etc/os-release": "ID=fedora\n", "/run/.containerenv": ""}
    line = {"/proc/cmdline": "ttm.pages_limit=25165824\n"}
    (advice,) = detect(Replay(with_files(base, **files, **line))).advice
    assert "On the host of this Podman container" in advice.what
    assert "grubby" not in advice.command
    assert "grep -rs 'ttm.pages_limit='" in advice.command


def test_a_capture_keeps_of_the_command_line_only_what_is_looked_for() -> None:
    assert Scrubber().file("/proc/cmdline", CMDLINE) == "ttm.pages_limit=27262976\n"


def group(limit: int, path: str = "/", name: str = "memory.max") -> dict[str, str]:
    folder = f"/sys/fs/cgroup{path}".rstrip("/")
    return {"/proc/self/cgroup": f"0::{path}\n", f"{folder}/{name}": f"{limit}\n"}


def test_on_gb10_a_container_limits_only_the_engines_own_process() -> None:
    files = {
        **group(48 * GIB),
        "/.dockerenv": "",
        "/sys/class/dmi/id/product_name": "NVIDIA_DGX_Spark",
    }
    machine = detect(Replay(Capture("linux-aarch64", {"/proc/meminfo": SPARK, **files}, {})))
    assert machine.limit_bytes == 118489088 * KIB
    assert any("Docker container may hold 48.00 GiB" in text for text in machine.warnings)
    assert not any("in use" in text for text in machine.warnings)
    assert on_processor(machine).limit_bytes <= 48 * GIB
    assert as_it_is_now(machine).limit_bytes == 118489088 * KIB


@pytest.mark.parametrize(
    ("files", "kernel", "command"),
    [
        ({"/.dockerenv": ""}, "6.18.9", "docker update --memory"),
        ({"/run/systemd/container": "lxc\n"}, "6.17.4-2-pve", "pct set ID --memory"),
        ({"/run/systemd/container": "lxc\n"}, "6.18.9", "lxc config set NAME limits.memory"),
        ({"/run/.containerenv": ""}, "6.18.9", "podman update --memory"),
    ],
)
def test_a_container_is_named_with_its_fix(files, kernel, command) -> None:
    memory = {"/proc/meminfo": "MemTotal: 131800000 kB\nMemAvailable: 126000000 kB\n"}
    files = {**memory, **group(64 * GIB), **files, "/proc/sys/kernel/osrelease": f"{kernel}\n"}
    machine = detect(Replay(Capture("linux-x86_64", files, {})))
    assert "container" in machine.limit_source
    found = choose_plan(machine, STEP, PlanRequest())
    assert not found.fits
    assert "container" in found.reasons[0]
    assert any(command in each for each in fixes(found))


def test_a_slice_is_named_with_its_property() -> None:
    memory = {"/proc/meminfo": "MemTotal: 131800000 kB\nMemAvailable: 126000000 kB\n"}
    files = {**memory, **group(40 * GIB, "/system.slice/llm.service")}
    found = plan(Capture("linux-x86_64", files, {}))
    assert "systemd service, llm.service" in found.limit_source
    wanted = "sudo systemctl set-property --runtime llm.service MemoryMax=infinity"
    assert wanted in fixes(found)


def test_an_lxc_that_hides_the_hosts_memory_is_recognised() -> None:
    base = strix(50_331_648, 536870912, 120 * GIB, 120 * 262144)
    files = {**group(48 * GIB), "/proc/sys/kernel/osrelease": "6.17.9-1-pve\n"}
    found = plan(with_files(base, **files))
    assert not found.fits
    assert "LXC container" in found.limit_source
    assert fixes(found)[0] == f"pct set ID --memory {122 * 1024}"
    assert "would fit then" in found.fixes[0].what
    assert not any("not known to be stable" in text for text in found.machine.warnings)
    assert "steprun machine --known" not in fixes(found)


# --- one way to count what is in use


def test_what_is_used_of_a_carve_out_is_not_free_now() -> None:
    used = {f"{CARD}/mem_info_vram_used": f"{40 * GIB}\n"}
    base = strix(65_000_000, 64 * GIB, 32 * GIB, 32 * 262144)
    machine = detect(Replay(with_files(base, **used)))
    assert machine.limit_bytes == 96 * GIB
    assert "as if idle" in machine.limit_source
    assert as_it_is_now(machine).limit_bytes <= 56 * GIB
    found = choose_plan(machine, STEP, PlanRequest())
    assert found.fits
    assert any("Not enough is free at this moment" in text for text in found.warnings)


def test_cards_and_main_memory_are_both_counted_idle_and_both_told() -> None:
    base = linux("MemTotal: 134000000 kB\nMemAvailable: 30000000 kB\n")
    found = plan(with_cards(base, "RTX 4090, 24564, 900", "RTX 4090, 24564, 24000"))
    assert found.variant.name == "Q4_K_S"
    told = [text for text in found.warnings if "Not enough is free" in text]
    assert len(told) == 2
    assert any("main memory has" in text for text in told)
    now = as_it_is_now(found.machine)
    assert now.main_memory_bytes == 30000000 * KIB


def test_a_plain_table_keeps_what_is_used() -> None:
    table = (
        "| GPU  Name  Persistence-M | Bus-Id  Disp.A | ECC |\n"
        "|   0  NVIDIA GeForce RTX 4090  Off | 00000000:01:00.0 Off | N/A |\n"
        "|  0%  40C  P8  10W / 450W | 20000MiB / 24564MiB | 0% Default |\n"
    )
    base = linux("MemTotal: 134000000 kB\nMemAvailable: 120000000 kB\n")
    capture = replace(base, commands={**base.commands, "nvidia-smi": Ran(0, table)})
    assert detect(Replay(capture)).devices[0].free_bytes == 4564 * MIB


# --- fixes that gain something


def test_memory_that_the_driver_keeps_needs_a_restart_first() -> None:
    meminfo = (
        "MemTotal: 127600748 kB\nMemFree: 30000000 kB\nMemAvailable: 44000000 kB\nBuffers: 100 kB\n"
        "Cached: 14000000 kB\nAnonPages: 3000000 kB\nSlab: 500000 kB\n"
    )
    held = "nvidia-smi --query-compute-apps=used_memory --format=csv,noheader,nounits"
    files = {"/proc/meminfo": meminfo, "/sys/class/dmi/id/product_name": "NVIDIA_DGX_Spark"}
    found = plan(Capture("linux-aarch64", files, {held: Ran(0, "")}))
    assert not found.fits
    assert fixes(found)[0] == "sudo reboot"
    assert "would fit then" in found.fixes[0].what
    assert not any("drop_caches" in each for each in fixes(found))
    assert "steprun machine --known" not in fixes(found)


def test_programs_that_hold_memory_are_to_be_stopped() -> None:
    meminfo = "MemTotal: 127600748 kB\nMemFree: 30000000 kB\nMemAvailable: 50000000 kB\n"
    files = {"/proc/meminfo": meminfo, "/sys/class/dmi/id/product_name": "NVIDIA_DGX_Spark"}
    found = plan(Capture("linux-aarch64", files, {}))
    assert not found.fits
    assert fixes(found)[0].startswith("ps -eo rss")
    assert "steprun machine --known" not in fixes(found)


def test_a_raise_after_which_the_same_fits_is_not_offered() -> None:
    mac_128 = mac(128)
    assert not plan(mac_128, context=32_768, kv_type="q8_0", quant="IQ4_XS").fixes
    assert plan(mac_128, quant="Q4_K_S").fixes


def test_dropping_the_cache_is_offered_where_the_load_needs_it() -> None:
    meminfo = "MemTotal: 127600748 kB\nMemFree: {} kB\nMemAvailable: 118489088 kB\n"
    board = {"/sys/class/dmi/id/product_name": "NVIDIA_DGX_Spark"}
    for free, offered in ((40000000, True), (118000000, False)):
        files = {**board, "/proc/meminfo": meminfo.format(free)}
        found = plan(Capture("linux-aarch64", files, {}))
        assert any("drop_caches" in each for each in fixes(found)) is offered


@pytest.mark.parametrize(("carve_gib", "ram_kib"), [(32, 98_000_000), (48, 81_000_000)])
def test_a_large_carve_out_is_priced(carve_gib: int, ram_kib: int) -> None:
    found = plan(strix(ram_kib, carve_gib * GIB, ram_kib * KIB // 2))
    assert any(
        "UMA size to its minimum" in fix.what and "Q4_K_S at" in fix.what for fix in found.fixes
    )


@pytest.mark.parametrize(("ram_gib", "target"), [(125, 116), (189, 179)])
def test_the_gtt_target_grows_with_the_memory(ram_gib: int, target: int) -> None:
    machine = detect(Replay(strix(ram_gib * MIB, 536870912, ram_gib * GIB // 2)))
    assert machine.advice[0].limit_after == target * GIB


# --- drivers of Windows


def on_windows(visible: float, carve_gib: int, driver: str) -> Plan:
    pci = "PCI\\VEN_1002&DEV_1586&REV_C1"
    return plan(windows(visible, ("AMD Radeon(TM) 8060S", pci, carve_gib * GIB, driver)))


@pytest.mark.parametrize(("visible", "carve_gib", "most_gib"), [(31.8, 96, 64), (71.0, 64, 96)])
def test_an_older_driver_gets_no_more_than_was_seen(visible, carve_gib, most_gib) -> None:
    found = on_windows(visible, carve_gib, "32.0.22029.1019")
    assert found.machine.limit_bytes <= most_gib * GIB
    (update,) = [fix for fix in found.fixes if "Update AMD's driver" in fix.what]
    assert "would fit then" in update.what
    newer = on_windows(visible, carve_gib, "32.0.31041.2000")
    assert newer.machine.limit_bytes > found.machine.limit_bytes
    assert not any("Update AMD" in fix.what for fix in newer.fixes)


def test_192_gb_under_windows_keep_their_carve_out() -> None:
    found = on_windows(95.5, 96, "32.0.31050.1000")
    assert found.fits
    assert found.machine.limit_bytes > 140 * GIB
