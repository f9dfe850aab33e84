"""One real load through `steprun serve`: what the engine's log says, and what the driver shows."""

import contextlib
import json
import re
import signal
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from gpu_check import host
from runner.engine.process.supervisor import free_port

_CACHE = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB")
_COMPUTE = re.compile(r"sched_reserve: +(\S+) compute buffer size = +([\d.]+) MiB")
_POLL_S = 0.2
_STOP_S = 30.0
_PROMPT_WORDS = 3000  # more tokens than the largest micro-batch, so that every buffer is used


@dataclass(frozen=True)
class Case:
    """One combination: the options that are checked, and those that name the model."""

    name: str
    options: tuple[str | Path, ...]
    model: tuple[str | Path, ...]


@dataclass(frozen=True)
class Loaded:
    """What one load showed. `caches`, `compute`: MiB as printed, in the order of the log.

    `device`: what the cards hold more than before, None where the driver does not say; `host`: the
    server's main memory without mapped files. `held`: both, or None; in bytes.
    """

    caches: list[float]
    compute: dict[str, float]
    device: int | None
    host: int
    load_s: float

    @property
    def held(self) -> int | None:
        """Return what the engine holds in all, where the driver says it."""
        return None if self.device is None else self.device + self.host


def load(argv: list[str], env: dict[str, str], home: Path, until: float) -> Loaded:
    """Start it, let it answer once, and stop it. RuntimeError where it does not start."""
    before, port, began = _taken(), free_port("127.0.0.1"), time.monotonic()
    logs = set(home.rglob("engine-*.log"))
    with subprocess.Popen(
        [*argv, "--port", str(port)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        peak = _Peak(server.pid, before)
        try:
            _wait(f"http://127.0.0.1:{port}", server, until)
            load_s = time.monotonic() - began
            _ask(f"http://127.0.0.1:{port}", until)
        finally:
            peak.stop()
            _stop(server)
    new = sorted(set(home.rglob("engine-*.log")) - logs) or sorted(home.rglob("engine-*.log"))
    text = "".join(path.read_text("utf-8", "replace") for path in new[-1:])
    compute: dict[str, float] = {}
    for device, mib in _COMPUTE.findall(text):
        compute[device] = max(compute.get(device, 0.0), float(mib))
    caches = [float(mib) for mib in _CACHE.findall(text) if float(mib)]
    return Loaded(caches, compute, peak.device, peak.host, round(load_s, 1))


def _taken() -> int | None:
    """Return what is in use where the engine allocates: the cards, or a GB10's one memory."""
    used = host.used_bytes()
    if used is None and host.gpus() and (available := host.available_bytes()) is not None:
        return -available
    return used


class _Peak:
    """The most that was seen, watched in a thread of its own."""

    def __init__(self, pid: int, before: int | None) -> None:
        self._pid, self._before = pid, before
        self.device: int | None = None
        self.host = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(_POLL_S):
            now = _taken() if self._before is not None else None
            if now is not None and self._before is not None:
                self.device = max(self.device or 0, now - self._before)
            self.host = max(self.host, host.private_bytes(self._pid))

    def stop(self) -> None:
        self._end.set()
        self._thread.join()


def _wait(url: str, server: subprocess.Popen[str], until: float) -> None:
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310 - our own
            return
        time.sleep(_POLL_S)
    _stop(server)
    said = server.stderr.read() if server.stderr else ""
    raise RuntimeError(f"the server did not start: {said[-1500:]}")


def _ask(url: str, until: float) -> None:
    words = " ".join(f"w{number}" for number in range(_PROMPT_WORDS))
    body = {"messages": [{"role": "user", "content": words}], "max_tokens": 4}
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    left = max(1.0, until - time.monotonic())
    with urllib.request.urlopen(request, timeout=left) as reply:  # noqa: S310 - as above
        reply.read()


def _stop(server: subprocess.Popen[str]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
