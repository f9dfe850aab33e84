"""Drivers, kernels and firmware that are known to be bad for a kind of machine: data."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from runner.base.toml import Strict, check_pattern, read_toml
from runner.machine.captures.capture import Reader
from runner.machine.facts import Platform
from runner.machine.probes.host import Notes
from runner.machine.probes.read import stdout_of, strip_codes

RELEASE = "/proc/sys/kernel/osrelease"
NVIDIA_MODULE = "/proc/driver/nvidia/version"
_FIRMWARE_QUERIES = (
    ("dpkg-query", "-W", "-f=${Version}", "linux-firmware"),
    ("rpm", "-q", "linux-firmware"),
    ("pacman", "-Q", "linux-firmware"),
)
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?")
# The open one is called "NVIDIA UNIX Open Kernel Module for aarch64  580.173.02", the proprietary
# one "NVIDIA UNIX aarch64 Kernel Module  580.173.02".
_MODULE = re.compile(r"NVRM version: NVIDIA UNIX (Open )?.{0,60}?([0-9]{3}\.[0-9.]{2,12})\b")

Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Trouble(Strict, frozen=True):
    platform: Platform
    says: Text
    next: Text
    source: Text
    kernel: str = ""
    driver: str = ""
    modules: Literal["", "open", "proprietary"] = ""
    firmware: str = ""
    unless: str = ""

    def __post_init__(self) -> None:
        check_pattern(self.kernel)
        check_pattern(self.driver)
        if not (self.kernel or self.driver or self.modules or self.firmware):
            raise ValueError("a row names a kernel, a driver, modules or firmware")


class _Kernel(Strict, frozen=True):
    since: tuple[int, int, int]
    flavour: str


class _Sound(Strict, frozen=True):
    platform: Platform
    kernels: tuple[_Kernel, ...]
    says: Text
    next: Text
    source: Text


class KnownTrouble(Strict, frozen=True):
    """The whole file."""

    trouble: tuple[_Trouble, ...]
    sound: tuple[_Sound, ...]


@cache
def known() -> KnownTrouble:
    """Return the list that ships with steprun."""
    path = Path(__file__).with_name("known_trouble.toml")
    return read_toml(path, KnownTrouble, "the list of known trouble")


def check_known(reader: Reader, platform: Platform, notes: Notes) -> None:
    """Warn of what is known to be bad for a machine of this kind, and say what to do."""
    release = strip_codes(reader.file(RELEASE))
    for sound in known().sound:
        if sound.platform is platform:
            _check_kernel(release, sound, notes)
    rows = [row for row in known().trouble if row.platform is platform]
    modules, driver = (
        _nvidia(reader) if any(row.driver or row.modules for row in rows) else ("", "")
    )
    firmware = _firmware(reader) if any(row.firmware for row in rows) else ""
    booted = (reader.file("/proc/cmdline") or "").split()
    for row in rows:
        if (
            (not row.kernel or re.match(row.kernel, release))
            and (not row.driver or re.match(row.driver, driver))
            and (not row.modules or row.modules == modules)
            and (not row.firmware or row.firmware in firmware)
            and (not row.unless or row.unless not in booted)
        ):
            notes.warnings.append(f"{row.says} Next: {row.next}")


def _check_kernel(release: str, sound: _Sound, notes: Notes) -> None:
    match = _VERSION.match(release)
    if match is None:
        notes.unknown.append("kernel version")
        return
    version = tuple(int(part or 0) for part in match.groups())
    if not any(version >= each.since and each.flavour in release for each in sound.kernels):
        notes.warnings.append(f"Linux {release} {sound.says}: {sound.next}.")


def _nvidia(reader: Reader) -> tuple[str, str]:
    """Return which kernel modules of NVIDIA's are loaded, and their version; empty if unknown.

    From the kernel, which also tells where nvidia-smi hangs.
    """
    found = _MODULE.search(reader.file(NVIDIA_MODULE) or "")
    if found is None:
        return "", ""
    return "open" if found[1] else "proprietary", found[2]


def _firmware(reader: Reader) -> str:
    return next((text for query in _FIRMWARE_QUERIES if (text := stdout_of(reader, *query))), "")
