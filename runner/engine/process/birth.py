"""What identifies a process for as long as this computer runs, whatever its clock does.

A pid is used again. The time at which its process was started tells two apart, but on Linux that
time is counted from the boot, and when the boot was is counted back from the clock: once the clock
is set, as it is soon after a boot, each process seems to have been started at another time.
"""

from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_STARTED: Final = 19  # proc(5): the 22nd field of `stat`, the 20th behind the name


def birth_of(pid: int) -> str:
    """Return the boot and the moment in which a process was started; empty where nobody tells.

    Other systems than Linux write the time down when a process is started, and keep it.
    """
    try:
        behind_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return f"{_BOOT.read_text('ascii').strip()} {int(behind_name[_STARTED])}"
    except (OSError, ValueError, IndexError):
        return ""
