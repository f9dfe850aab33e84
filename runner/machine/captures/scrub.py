"""Removes from a capture what must not leave the machine: names, serial numbers, UUIDs.

What is dropped here comes along with what the probes read; none of them uses it, so that a
scrubbed capture gives the same machine (only the UUIDs of the cards differ). What they do use,
the names of control groups, is numbered.
"""

import json
import re
from collections.abc import Callable

_UUID = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
# Names of fields are short; without these bounds a line of nothing but "serial" takes minutes.
_QUOTED_SERIAL = re.compile(
    r'("[^"\n]{0,80}serial[^"\n]{0,80}"\s{0,9}[:=]\s{0,9})"[^"\n]*"', re.IGNORECASE
)
_SERIAL_LINE = re.compile(
    r'^([^"\n:=]{0,80}serial[^"\n:=]{0,80}[:=]).*$', re.IGNORECASE | re.MULTILINE
)
# Long, of no use, and on a Raspberry Pi a serial number.
_CPUINFO = re.compile(r"^(?:flags|vmx flags|Features|bugs|Serial)[ \t]*:.*\n?", re.MULTILINE)
_IOREG_KEYS = ('"gpu-core-count"', '"model"')
# Control groups are called after containers, virtual machines, users and services. A program's
# own stand in this file, line by line as `0::/user.slice/mine`, and again in the paths below.
_GROUPS, _GROUP_FOLDER = "/proc/self/cgroup", "/sys/fs/cgroup/"
_GROUP_LINE = re.compile(r"^([0-9]+:[^:\n]*:)(.*)$", re.MULTILINE)
# "memory" is a folder of control groups 1, not a group; the others name nobody.
_NO_NAMES = ("", "..", "memory", "user.slice", "system.slice", "machine.slice", "docker", "lxc")
# What tells a unit of systemd and a container's kind, kept of a name that is numbered.
_GROUP_KIND = re.compile(r"^(docker|libpod|lxc|kubepods)?.*?(\.slice|\.scope|\.service)?$")
# Of the kernel's command line, of modprobe.d and of the mounts only what the probes look for.
_KEPT_WORDS = re.compile(r"\b(?:(?:ttm|amdttm|amdgpu)\.[a-z_-]+=[0-9]+|kho=(?:on|off))\b")
_MODPROBE, _OPTION_LINE = (
    "/etc/modprobe.d/",
    re.compile(r"^[ \t]*options[ \t]+(?:ttm|amdttm|amdgpu)[ \t].*$"),
)
# A display of Apple's profiler is called after its owner ("Ada's iPad"): keep the card's own keys.
_PROFILER_KEYS = ("_name", "sppci_", "spdisplays_metal", "spdisplays_mtl", "spdisplays_vendor")


class Scrubber:
    """Cleans the texts of one capture; equal UUIDs stay equal, and cards stay distinct."""

    def __init__(self) -> None:
        self._uuids: dict[str, str] = {}
        self._groups: dict[str, str] = {}

    def path(self, path: str) -> str:
        """Return a file's path, with the names of control groups numbered."""
        if not path.startswith(_GROUP_FOLDER):
            return path
        groups, _, name = path.removeprefix(_GROUP_FOLDER).rpartition("/")
        return f"{_GROUP_FOLDER}{self._numbered(groups)}/{name}" if groups else path

    def file(self, path: str, text: str) -> str:
        """Return a file's text without what identifies the machine."""
        if path == "/proc/cpuinfo":
            text = _CPUINFO.sub("", text)
        if path == _GROUPS:
            return _GROUP_LINE.sub(lambda line: line[1] + self._numbered(line[2].strip()), text)
        if path == "/proc/cmdline":
            return " ".join(_KEPT_WORDS.findall(text)) + "\n"
        if path.startswith(_MODPROBE):
            return "".join(f"{x}\n" for x in text.splitlines() if _OPTION_LINE.match(x))
        if path == "/proc/mounts":
            return "lxcfs /proc/meminfo fuse.lxcfs rw 0 0\n" if "lxcfs" in text else ""
        return self._common(text)

    def output(self, argv: str, stdout: str) -> str:
        """Return a command's output without what identifies the machine or its owner."""
        reduce = _REDUCED.get(argv.split(" ", 1)[0])
        return self._common(reduce(stdout) if reduce else stdout)

    def _numbered(self, groups: str) -> str:
        return "/".join(
            name if name in _NO_NAMES else self._groups.setdefault(name, self._number_of(name))
            for name in groups.split("/")
        )

    def _number_of(self, name: str) -> str:
        match = _GROUP_KIND.match(name)
        before, after = match.groups("") if match else ("", "")
        return f"{before}{'-' if before else ''}group-{len(self._groups)}{after}"

    def _common(self, text: str) -> str:
        text = _SERIAL_LINE.sub(r"\1 0", _QUOTED_SERIAL.sub(r'\1"0"', text))
        return _UUID.sub(self._number, text)

    def _number(self, match: re.Match[str]) -> str:
        number = len(self._uuids)
        return self._uuids.setdefault(match[0].lower(), f"00000000-0000-0000-0000-{number:012d}")


def _ioreg(stdout: str) -> str:
    lines = stdout.splitlines(keepends=True)
    return "".join(line for line in lines if any(key in line for key in _IOREG_KEYS))


def _profiler(stdout: str) -> str:
    try:
        cards = json.loads(stdout)["SPDisplaysDataType"]
        kept = [{k: v for k, v in card.items() if k.startswith(_PROFILER_KEYS)} for card in cards]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""
    return json.dumps({"SPDisplaysDataType": kept})


_REDUCED: dict[str, Callable[[str], str]] = {"ioreg": _ioreg, "system_profiler": _profiler}
