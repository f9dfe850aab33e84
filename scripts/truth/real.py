"""One real load: the engine's own cache and buffer lines, and what its process holds.

Linux only. The engine is started with MALLOC_PERTURB_, by which the C library writes to all that
it hands out: pages that were asked for but never used would otherwise count as nothing, and a
reservation could not be told from a mistake.
"""

import concurrent.futures
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.engine.installed.store import embedded
from runner.engine.process.guard import __file__ as GUARD  # noqa: N812
from runner.engine.process.supervisor import free_port
from truth.grid import Case

READY_S = 900.0  # the full-size twin took 43 s on a quiet machine, over 300 on a busy one
ANSWER_S = 900.0
POLL_S = 0.25
PERTURB = "165"  # any byte but 0
_CACHE = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB")
_COMPUTE = re.compile(r"(\w+): +\S+ compute buffer size = +([\d.]+) MiB")
_CHECKPOINT = re.compile(r"created context checkpoint .* size = ([\d.]+) MiB")


@dataclass(frozen=True)
class Seen:
    """What one load showed. `caches` and `checkpoints`: MiB as printed, in order of appearance.

    `compute`: the compute buffers of trunk, heads and projector. `held`: the process at its peak,
    in bytes, without what is mapped from the model's files.
    """

    caches: tuple[str, ...]
    compute: tuple[float, ...]
    checkpoints: tuple[str, ...]
    held: int
    seconds: float


def load(case: Case, prompt_tokens: int, argv: tuple[str, ...] = ()) -> Seen:
    """Load, answer one prompt in each slot, and measure. RuntimeError where it does not start."""
    began = time.monotonic()
    port = free_port("127.0.0.1")
    words = [*embedded().program, *case.argv(), *argv, "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="steprun-truth-") as folder:
        log = Path(folder) / "log"
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARD, "--log", str(log), "--", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "MALLOC_PERTURB_": PERTURB},
            text=True,
        )
        with guard:
            try:
                assert guard.stdout is not None  # noqa: S101 - asked for above
                pid = int(guard.stdout.readline().split()[1])
                with _watching(pid) as peak:
                    wait_ready(f"http://127.0.0.1:{port}", guard, log)
                    _fill(f"http://127.0.0.1:{port}", case.config.slots, prompt_tokens)
                    peak.look()
                held = peak.anonymous + peak.libraries
            finally:
                assert guard.stdin is not None  # noqa: S101 - asked for above
                guard.stdin.close()
                guard.wait()
        text = log.read_text("utf-8", "replace")
    # Printed again when a graph is planned anew: the largest of each kind is what it holds.
    compute: dict[str, list[float]] = {}
    for who, mib in _COMPUTE.findall(text):
        compute.setdefault(who, []).append(float(mib))
    graphs = sorted(set(compute.get("sched_reserve", [])), reverse=True)
    sight = [max(compute["reserve_compute_meta"])] if "reserve_compute_meta" in compute else []
    return Seen(
        caches=tuple(size for size in _CACHE.findall(text) if size != "0.00"),
        compute=(*graphs, *sight),
        checkpoints=tuple(_CHECKPOINT.findall(text)),
        held=held,
        seconds=time.monotonic() - began,
    )


def wait_ready(url: str, guard: subprocess.Popen[Any], log: Path) -> None:
    """Return when the engine answers; RuntimeError with the end of its log where it does not."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and guard.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/health", timeout=5).close()  # noqa: S310 - our own
            return
        time.sleep(0.05)
    raise RuntimeError(f"the engine did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")


def _fill(url: str, slots: int, tokens: int) -> None:
    """Let each slot read so many tokens and say two, all at the same time."""
    body = json.dumps({"prompt": [100 + i % 100 for i in range(tokens)], "n_predict": 2}).encode()
    request = urllib.request.Request(  # noqa: S310 - our own engine
        f"{url}/completion", body, {"content-type": "application/json"}
    )

    def ask(_: int) -> None:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:  # noqa: S310 - as above
            reply.read()

    with concurrent.futures.ThreadPoolExecutor(slots) as pool:
        list(pool.map(ask, range(slots)))


class _Peak:
    """The most that a process was seen to hold of anonymous memory, and of its libraries.

    Not at the same time: a mapped model larger than memory drives the libraries out again.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._path = Path(f"/proc/{pid}/smaps_rollup")
        self.anonymous = 0
        self.libraries = 0

    def look(self) -> None:
        with contextlib.suppress(OSError):
            self.libraries = max(self.libraries, _libraries(self._pid))
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss_Anon: +(\d+) kB", self._path.read_text(), re.MULTILINE)
            self.anonymous = max(self.anonymous, int(found[1]) * 1024 if found else 0)


@contextlib.contextmanager
def _watching(pid: int) -> Iterator[_Peak]:
    peak, stop = _Peak(pid), threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_S):
            peak.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _libraries(pid: int) -> int:
    """Return what is mapped from files that are no models: programs and their libraries.

    Counted whole although other processes may share them: a figure that depends on who else is
    running could not be planned.
    """
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)", line):
            counts = found[1].startswith("/") and not found[1].endswith(".gguf")
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
        elif counts and line.startswith("Anonymous:"):
            total -= int(line.split()[1]) * 1024  # among the anonymous already
    return total
