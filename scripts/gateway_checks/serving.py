"""A `steprun serve` that a check starts, and the engine behind it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 120.0
STOP_S: Final = 60.0  # a drain of 30 s, and the engine's end
# Where the engine listens, and with which key: of one engine only, never of the next.
_PLACE: Final = frozenset({"--host", "--port", "--api-key-file"})


@dataclass(frozen=True)
class Served:
    """A gateway that answers at `url`. `home`: its STEPRUN_HOME."""

    url: str
    process: subprocess.Popen[bytes]
    home: Path

    def engine(self) -> psutil.Process | None:
        """Return the engine's process; None while there is none."""
        for path in (self.home / "state" / "engines").glob("*.json"):
            with suppress(OSError, ValueError, KeyError, psutil.Error):
                process = psutil.Process(json.loads(path.read_bytes())["pid"])
                if process.status() != psutil.STATUS_ZOMBIE:
                    return process
        return None


def end_in_order() -> None:
    """Let a SIGTERM end this script through its blocks, so that what it has started ends, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_port() -> int:
    """Return a port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def gateway(
    home: Path,
    arguments: Sequence[str],
    *,
    port: int = 0,
    log: Path | None = None,
    program: Sequence[str] = (sys.executable, "-m", "runner"),
) -> Iterator[Served]:
    """Run `steprun serve` until the block ends. `log`: where its stderr goes."""
    port = port or free_port()
    argv = [*program, "serve", "--port", str(port), *arguments]
    path = os.pathsep.join((str(ROOT), str(ROOT / "scripts")))
    environment = {**os.environ, "STEPRUN_HOME": str(home), "PYTHONPATH": path}
    home.mkdir(parents=True, exist_ok=True)
    with (log or home / "serve.log").open("wb") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=ROOT
        )
        try:
            wait_ready(f"http://127.0.0.1:{port}", process)
            yield Served(f"http://127.0.0.1:{port}", process, home)
        finally:
            end(process)


@contextmanager
def engine_alone(
    argv: Sequence[str], *, port: int = 0, key_file: Path | None = None, log: Path
) -> Iterator[str]:
    """Run an engine by hand, without a gateway, until the block ends; yields its address."""
    port = port or free_port()
    key = ("--api-key-file", str(key_file)) if key_file else ()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*argv, "--host", "127.0.0.1", "--port", str(port), *key],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            wait_ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            end(process)


def flags_of(engine: psutil.Process) -> list[str]:
    """Return the command line of a running engine, without what says where it listens."""
    words = iter(engine.cmdline())
    kept = []
    for word in words:
        if word in _PLACE:
            next(words, None)
        else:
            kept.append(word)
    return kept


def wait_ready(url: str, process: subprocess.Popen[bytes], limit_s: float = START_S) -> None:
    """Return once `/health` says 200. Exits where the process ends or the time runs out."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"{url} ended with status {process.returncode} before it answered.")
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{url}/health", timeout=5) as reply,  # noqa: S310 - http, ours
        ):
            if reply.status == 200:
                return
        time.sleep(0.2)
    sys.exit(f"{url} did not become ready within {limit_s:.0f} s.")


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process as a service manager does: ask, wait, then kill."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
