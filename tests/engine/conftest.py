"""Real engines, started the way a user starts them; one of them built here, once."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

from runner.engine.builder import Tree, sources
from runner.engine.installed import store
from runner.engine.process.supervisor import free_port
from tests.conftest import CACHE, ROOT

TORCH = "torch==2.13.0+cpu"  # 192 MB; what pip takes by itself brings CUDA, 3 GB
# Two OpenMP threads that wait for each other on busy cores are a hundred times slower than one.
ONE_THREAD = {"OMP_THREAD_LIMIT": "1", "OMP_WAIT_POLICY": "passive"}
SOURCE = "xllamacpp"  # on the package registry: no git host is needed


@dataclass(frozen=True)
class Served:
    """A `steprun serve` that answers."""

    url: str
    process: subprocess.Popen[str]
    home: Path

    def log(self) -> str:
        """Return the engine's log."""
        (path,) = (self.home / "state" / "logs").glob("engine-*.log")
        return path.read_text("utf-8", "replace")


@contextmanager
def serve(home: Path, *arguments: str, wait_s: float = 60) -> Iterator[Served]:
    """Run `steprun serve` until the block ends."""
    port = free_port("127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "serve", "--port", str(port), *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ONE_THREAD, "STEPRUN_HOME": str(home)},
    )
    url = f"http://127.0.0.1:{port}"
    with process:
        try:
            wait_healthy(url, process, wait_s)
            yield Served(url, process, home)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


def wait_healthy(url: str, process: subprocess.Popen[str], wait_s: float) -> None:
    """Return when /health says 200; fail where the process ends or the time runs out."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(f"serve ended: {process.stderr.read()}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"not healthy after {wait_s} s")


@pytest.fixture(scope="module")
def served(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve tiny Step with its projector."""
    home = tmp_path_factory.mktemp("home")
    with serve(home, "--model", str(tiny / "tiny-step.gguf"), "--ctx", "16384") as running:
        yield running


def home_with(kind: str, *words: str) -> Path:
    """Return a STEPRUN_HOME in which `engine build WORDS` was run, once.

    It is kept for as long as the recipe stays the same.
    """
    recipes = [ROOT / "builds" / name for name in ("common.toml", "cpu.toml", "sources.toml")]
    key = hashlib.sha256(b"\0".join(path.read_bytes() for path in recipes)).hexdigest()[:16]
    home = CACHE / f"engine-{kind}-{key}"
    with FileLock(CACHE / f"engine-{kind}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPRUN_HOME", str(home))
        if len(store.engines()) == 1:
            for old in CACHE.glob(f"engine-{kind}-*"):
                if old != home:
                    shutil.rmtree(old)
            line = ["engine", "build", *words, "--no-test"]
            subprocess.run([sys.executable, "-m", "runner", *line], check=True)
    return home


@pytest.fixture(scope="session")
def built_home() -> Path:
    """Return a STEPRUN_HOME with a llama-server that was built here: 6 minutes on 2 cores, once."""
    return home_with("server", "--source", SOURCE)


@pytest.fixture(scope="session")
def python_home() -> Path:
    """Return a STEPRUN_HOME with a llama-cpp-python that was built here: 8 minutes, once."""
    return home_with("python", "--python")


@pytest.fixture
def built(built_home: Path, home: Path) -> store.InstalledEngine:
    """Have the engine that was built in this test's home; its canary was not asked."""
    (stamp,) = built_home.glob("cache/engines/cpu-*/stamp.json")
    shutil.copytree(stamp.parent, home / "cache" / "engines" / stamp.parent.name)
    return store.find_engine(stamp.parent.name)


@pytest.fixture
def tree(built_home: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Return the source that it was built from."""
    with monkeypatch.context() as patch:
        patch.setenv("STEPRUN_HOME", str(built_home))
        return sources.fetch_source(SOURCE, lambda *_: None)


@pytest.fixture(scope="module")
def pytorch(request: pytest.FixtureRequest) -> None:
    """Have PyTorch, on one thread: the slow suite downloads it once, the others never do."""
    if find_spec("torch") is None:
        if "not slow" in request.config.getoption("markexpr"):
            pytest.skip(f"PyTorch is not installed (pip install '{TORCH}')")
        sys.path.append(str(_downloaded_torch()))  # last: packages that are installed come first
    import torch

    torch.set_num_threads(1)


def _downloaded_torch() -> Path:
    folder = CACHE / TORCH
    with FileLock(CACHE / "torch.lock"):
        if not (folder / "complete").exists():
            pip = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--target",
                str(folder),
                TORCH,
            ]
            done = subprocess.run(pip, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"PyTorch could not be installed: {done.stderr.strip()[-300:]}")
            (folder / "complete").touch()
    return folder
