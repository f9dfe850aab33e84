"""What must not leave the machine with a capture: names, serial numbers, UUIDs.

The probes read nothing that holds a host or user name. What is dropped here comes along with
what they do read; no probe uses it, so that a scrubbed capture gives the same machine (only the
UUIDs of the cards differ).
"""

import json
import re
from collections.abc import Callable

_UUID = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
_QUOTED_SERIAL = re.compile(r'("[^"\n]*serial[^"\n]*"\s*[:=]\s*)"[^"\n]*"', re.IGNORECASE)
_SERIAL_LINE = re.compile(r'^([^"\n:=]*serial[^"\n:=]*[:=]).*$', re.IGNORECASE | re.MULTILINE)
# Long, of no use, and on a Raspberry Pi a serial number.
_CPUINFO = re.compile(r"^(?:flags|vmx flags|Features|bugs|Serial)[ \t]*:.*\n?", re.MULTILINE)
_IOREG_KEYS = ('"gpu-core-count"', '"model"')
# A display of Apple's profiler is called after its owner ("Ada's iPad"): keep the card's own keys.
_PROFILER_KEYS = ("_name", "sppci_", "spdisplays_metal", "spdisplays_mtl", "spdisplays_vendor")


class Scrubber:
    """Cleans the texts of one capture; equal UUIDs stay equal, and cards can be told apart."""

    def __init__(self) -> None:
        self._uuids: dict[str, str] = {}

    def file(self, path: str, text: str) -> str:
        """Return a file's text without what identifies the machine."""
        return self._common(_CPUINFO.sub("", text) if path == "/proc/cpuinfo" else text)

    def output(self, argv: str, stdout: str) -> str:
        """Return a command's output without what identifies the machine or its owner."""
        reduce = _REDUCED.get(argv.split(" ", 1)[0])
        return self._common(reduce(stdout) if reduce else stdout)

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
