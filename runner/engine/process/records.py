"""What is running, written down: a small file for each engine that steprun started.

The guard ends an engine with its owner. Should both die at once, the next start finds the
record here, and ends the engine after checking that it is still the same process.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from runner.base.files import write_private
from runner.engine.process.birth import birth_of


@dataclass(frozen=True, slots=True)
class Record:
    """One engine: its process and its owner's, each with the start time that identifies it.

    `birth` and `owner_birth`: what identifies them better, where the system tells (`birth_of`).
    """

    pid: int
    started: float
    owner: int
    owner_started: float
    total_bytes: int
    birth: str = ""
    owner_birth: str = ""


def write_record(path: Path, pid: int, total_bytes: int) -> None:
    """Write down an engine that this process has just started."""
    with contextlib.suppress(psutil.Error):
        me = psutil.Process()
        record = Record(
            pid=pid,
            started=psutil.Process(pid).create_time(),
            owner=me.pid,
            owner_started=me.create_time(),
            total_bytes=total_bytes,
            birth=birth_of(pid),
            owner_birth=birth_of(me.pid),
        )
        write_private(path, msgspec.json.encode(record))


def sweep(folder: Path) -> list[Record]:
    """End the engines whose owner is gone; return those that still have one."""
    live = []
    for path in folder.glob("*.json"):
        record = _read(path)
        if (
            record
            and same_process(record.pid, record.started, record.birth)
            and same_process(record.owner, record.owner_started, record.owner_birth)
        ):
            live.append(record)
        else:
            end(path)
            path.with_suffix(".key").unlink(missing_ok=True)
    return live


def end(path: Path) -> None:
    """End what a record names, if it still runs, and forget the record."""
    record = _read(path)
    if record and same_process(record.pid, record.started, record.birth):
        _kill(record.pid)
    path.unlink(missing_ok=True)


def _read(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return None


def _kill(pid: int) -> None:
    """End one process of ours and its children, at once."""
    if pid <= 0 or pid == os.getpid():
        return
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                each.kill()


def same_process(pid: int, started: float, birth: str = "") -> bool:
    """Whether this process still is the one that was written down: pids are used again."""
    try:
        process = psutil.Process(pid)
        same = birth_of(pid) == birth if birth else abs(process.create_time() - started) < 1.0
        # A zombie has ended, and nobody has asked how.
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
