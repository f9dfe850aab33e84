"""What the check asks of the machine: its GPUs, their memory, and one process's memory."""

import re
import subprocess
from pathlib import Path

MIB = 1024 * 1024


def gpus() -> list[str]:
    """Return the names of the NVIDIA cards; empty where there is none."""
    return [line.strip() for line in _ask("name") if line.strip()]


def used_bytes() -> int | None:
    """Return how much of all cards is in use; None where the driver does not say (GB10)."""
    figures = [re.match(r"\s*([0-9]+)", line) for line in _ask("memory.used")]
    known = [int(figure[1]) for figure in figures if figure]
    return sum(known) * MIB if known and len(known) == len(figures) else None


def available_bytes() -> int | None:
    """Return MemAvailable, which a GB10's engine takes its memory from; None where unknown."""
    try:
        text = Path("/proc/meminfo").read_text("ascii", "replace")
    except OSError:
        return None
    found = re.search(r"^MemAvailable: +([0-9]+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def private_bytes(pid: int) -> int:
    """Return what a process and those it started hold of main memory, without mapped files."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if int(folder.name) != pid and parent != pid:
                continue
            found = re.search(
                r"^Pss_Anon: +([0-9]+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE
            )
        except (OSError, ValueError, IndexError):
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


def _ask(field: str) -> list[str]:
    argv = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
