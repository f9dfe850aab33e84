"""WSL2: Linux inside Windows, with a part of the computer's memory and of its graphics.

NVIDIA's cards work there, through a driver that Windows brings. The RAM is what Windows gives,
half of it unless `.wslconfig` says otherwise, and how much there is in all cannot be seen.
"""

from runner.base.units import GIB, size
from runner.machine.captures.capture import Reader
from runner.machine.facts import Advice
from runner.machine.probes.host import HostFacts, Notes
from runner.machine.probes.read import strip_codes

# With this much the processor alone could hold the model (IQ4_XS and its buffers); a plan for
# cards needs less.
_ENOUGH_BYTES = 112 * GIB
_LEFT_TO_WINDOWS = "8 GB"  # a desktop and its browser; a round figure, not a measured one
_STRIX_CPU = "RYZEN AI MAX"


def inside(reader: Reader, host: HostFacts) -> bool:
    """Return whether this is Linux inside Windows."""
    if host.os != "linux":
        return False
    release = strip_codes(reader.file("/proc/sys/kernel/osrelease")).lower()
    return "microsoft" in release or "/dev/dxg" in reader.glob("/dev/dxg*")


def wsl_facts(reader: Reader, host: HostFacts, notes: Notes) -> None:
    """Note what WSL2 keeps from an engine; nothing elsewhere."""
    if not inside(reader, host):
        return
    if _STRIX_CPU in host.cpu.upper() and not reader.glob("/dev/kfd*"):
        notes.warnings.append(
            "The graphics of this Strix Halo are out of reach inside WSL2: its Vulkan binds only "
            "128 MiB at a time. Run steprun under Windows itself."
        )
    if 0 < host.memory_bytes < _ENOUGH_BYTES:
        notes.advice.append(
            Advice(
                f"Give WSL2 more than {size(host.memory_bytes)} of RAM: under [wsl2] write "
                "memory=NGB, where N is what the computer has (WSL2 cannot see it; it gets half "
                f"unless told) less {_LEFT_TO_WINDOWS} or more for Windows. Then: "
                "wsl.exe --shutdown",
                "powershell.exe -NoProfile -Command 'notepad $env:USERPROFILE\\.wslconfig'",
                "take the memory= line out of the same file, then: wsl.exe --shutdown",
                restart=True,
            )
        )
