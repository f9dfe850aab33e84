"""How many processes the kernel has killed for want of memory (Linux): what tells one that it was.

The exit status of a process says SIGKILL, whoever has sent it.
"""

from pathlib import Path
from typing import Final

_COUNTS: Final = Path("/proc/vmstat")


def oom_kills(counts: Path = _COUNTS) -> int | None:
    """Return the count since the machine was started, control groups' kills included.

    None where the system does not count (before Linux 4.13, other systems).
    """
    try:
        lines = counts.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    found = (line.split()[-1] for line in lines if line.startswith("oom_kill "))
    word = next(found, "")
    return int(word) if word.isdecimal() else None
