"""A prompt that is read, saved, and restored after a restart: its file, and how long that takes."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runner.engine.installed.store import embedded
from runner.engine.process.guard import __file__ as GUARD  # noqa: N812
from runner.engine.process.supervisor import free_port
from truth.grid import Case
from truth.real import wait_ready

ANSWER_S: Final = 1800.0
NAME: Final = "saved.bin"
_APPENDED: Final = re.compile(r"appended (\d+) context checkpoint")
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Saved:
    """What one prompt came to. Times in seconds.

    `bytes` and `checkpoints` are of the file. `read_s` is the prefill, `save_s` and `restore_s` by
    the engine's own account; `cached` of the prompt's `tokens` were not read again after the
    restart, for an answer of which the first token came after `again_s`. `write_rate` and
    `read_rate`: of the disk itself, in bytes a second, past the page cache where it lets us.
    """

    tokens: int
    bytes: int
    checkpoints: int
    read_s: float
    save_s: float
    restore_s: float
    cached: int
    again_s: float
    write_rate: float
    read_rate: float


def save_and_restore(case: Case, tokens: int, folder: Path) -> Saved:
    """Read so many tokens, save, start the engine again, restore, and ask the same once more."""
    prompt = [100 + i % 100 for i in range(tokens)]
    log = folder / "engine.log"
    with _running(case, folder, log) as url:
        first = _post(f"{url}/completion", {"prompt": prompt, "n_predict": 1, "id_slot": 0})
        kept = _post(f"{url}/slots/0?action=save", {"filename": NAME})
    # Not before its end: the guard copies the engine's lines, so an answer may overtake them.
    text = log.read_text("utf-8", "replace")
    size = (folder / NAME).stat().st_size
    write_rate, read_rate = _disk(folder, size)
    with _running(case, folder, log) as url:
        back = _post(f"{url}/slots/0?action=restore", {"filename": NAME})
        again = _post(f"{url}/completion", {"prompt": prompt, "n_predict": 1, "id_slot": 0})
    return Saved(
        tokens=int(kept["n_saved"]),
        bytes=size,
        checkpoints=int(_APPENDED.findall(text)[-1]),
        read_s=first["timings"]["prompt_ms"] / 1000,
        save_s=kept["timings"]["save_ms"] / 1000,
        restore_s=back["timings"]["restore_ms"] / 1000,
        cached=int(again["timings"]["cache_n"]),
        again_s=again["timings"]["prompt_ms"] / 1000,
        write_rate=write_rate,
        read_rate=read_rate,
    )


@contextmanager
def _running(case: Case, folder: Path, log: Path) -> Iterator[str]:
    port = free_port("127.0.0.1")
    # Warming up would read all of 105 GB once more.
    saving = ("--slot-save-path", f"{folder}{os.sep}", "--no-warmup")
    words = [*embedded().program, *case.argv(), *saving]
    url = f"http://127.0.0.1:{port}"
    line = [sys.executable, "-I", "-S", GUARD, "--log", str(log), "--", *words]
    guard = subprocess.Popen(
        [*line, "--port", str(port)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    with guard:
        try:
            wait_ready(url, guard, log)
            yield url
        finally:
            assert guard.stdin is not None  # noqa: S101 - asked for above
            guard.stdin.close()
            guard.wait()


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    data, kind = json.dumps(body).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(url, data, kind)  # noqa: S310 - our own engine
    with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:  # noqa: S310 - as above
        answer: dict[str, Any] = json.load(reply)
        return answer


def _disk(folder: Path, size: int) -> tuple[float, float]:
    """Return at which rates the disk writes and reads a file of that size, in bytes a second."""
    path, block = folder / "rate", b"\x5a" * _BLOCK
    began = time.monotonic()
    with path.open("wb") as file:
        for _ in range(max(1, size // _BLOCK)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    written = time.monotonic() - began
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.read(_BLOCK):
            pass
    read = time.monotonic() - began
    held = path.stat().st_size
    path.unlink()
    return held / written, held / read
