"""Drivers, kernels and firmware that are known to be bad, and what is said of them."""

import re

import pytest

from runner.machine.captures.capture import Ran, Replay
from runner.machine.captures.scrub import Scrubber
from runner.machine.facts import Platform
from runner.machine.probe import detect
from runner.machine.probes.known_trouble import NVIDIA_MODULE, RELEASE, known
from tests.unit.machine.machine_captures import linux, meminfo, smi

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  {}  Release Build  (dvs)\n"
PROPRIETARY = "NVRM version: NVIDIA UNIX aarch64 Kernel Module  {}  Wed Jul 15 00:00:00 UTC 2026\n"


def warnings(kernel: str, module: str, version: str = "580.173.02", line: str = "quiet") -> str:
    capture = linux(
        meminfo(127600748, 118566368, 118000000),
        "NVIDIA GB10, GPU-0, [N/A], [N/A], 12.1, 580.173.02",
        arch="aarch64",
        files={
            RELEASE: f"{kernel}\n",
            NVIDIA_MODULE: module.format(version),
            "/proc/cmdline": f"{line}\n",
        },
    )
    machine = detect(Replay(capture))
    assert machine.platform is Platform.GB10
    return "\n".join(machine.warnings)


def test_what_a_spark_ships_with_is_sound() -> None:
    assert warnings("6.17.0-1031-nvidia", OPEN) == ""


def test_a_kernel_that_was_put_right_is_sound() -> None:
    assert warnings("7.0.0-1019-nvidia", OPEN, line="root=/dev/x kho=off quiet") == ""
    assert "kho=off" in Scrubber().file("/proc/cmdline", "root=UUID=1 kho=off quiet\n")


@pytest.mark.parametrize(
    ("kernel", "module", "version", "says"),
    [
        ("7.0.0-1019-nvidia", OPEN, "580.173.02", "kernel 6.17 in the boot menu"),
        ("7.0.0-1019-nvidia", OPEN, "595.84", "add kho=off"),
        ("6.17.0-1008-nvidia", OPEN, "580.126.09", "full-upgrade"),
        ("6.17.0-1031-nvidia", OPEN, "610.43.02", "nvidia-driver-580-open"),
        ("6.17.0-1031-nvidia", PROPRIETARY, "580.173.02", "nvidia-driver-580-open"),
    ],
)
def test_what_is_known_to_be_bad_is_said_with_what_to_do(
    kernel: str, module: str, version: str, says: str
) -> None:
    assert says in warnings(kernel, module, version)


@pytest.mark.parametrize("module", ["", "{}", "NVRM version: " + "9" * 5000, "\0\x1b[31m{}"])
def test_a_file_that_says_nothing_known_is_no_trouble(module: str) -> None:
    assert warnings("6.17.0-1031-nvidia", module) == ""


def test_a_card_that_was_lost_is_said_with_a_driver_that_is_known() -> None:
    capture = linux(meminfo(127600748), "", files={NVIDIA_MODULE: OPEN.format("580.173.02")})
    lost = "Unable to determine the device handle for GPU0: 000F:01:00.0: GPU is lost.\n"
    commands = {**capture.commands, smi(): Ran(15, lost)}
    machine = detect(Replay(type(capture)(capture.platform, capture.files, commands)))
    assert any("has lost a card" in text for text in machine.warnings)


def test_each_row_names_who_saw_it_and_what_to_do() -> None:
    rows = [(row.source, row.next) for row in known().trouble]
    rows += [(row.source, row.next) for row in known().sound]
    for source, then in rows:
        assert re.search(r"https://\S+|toolboxes", source)
        assert then
