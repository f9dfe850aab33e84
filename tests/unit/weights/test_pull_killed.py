"""Pulls that are ended from outside, as whole programs: the next one goes on where it was."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.catalog import shards
from tests.conftest import INTERRUPTIBLE
from tests.fakes.hub import COMMIT, FakeHub, Manner

NAMES = shards.series("Q/m-00001-of-00003.gguf")
NAMED = f"hf:o/r/{NAMES[0]}@{COMMIT}"
KILLS = 6


@pytest.fixture
def data() -> dict[str, bytes]:
    chance = random.Random(5)
    return {name: chance.randbytes(9_000_000 + 100_000 * n) for n, name in enumerate(NAMES)}


def start(hub: FakeHub, home: Path, *words: str) -> subprocess.Popen[str]:
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "STEPRUN_HOME": str(home / "own")}
    return subprocess.Popen(
        [*INTERRUPTIBLE, "models", *(words or ("pull", NAMED))],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def whole(home: Path, data: dict[str, bytes]) -> bool:
    folder = home / "hf" / "hub" / "models--o--r"
    found = {name: folder / "snapshots" / COMMIT / name for name in data}
    blobs = sorted(path.name for path in (folder / "blobs").iterdir())
    return blobs == sorted(hashlib.sha256(each).hexdigest() for each in data.values()) and all(
        path.read_bytes() == data[name] for name, path in found.items()
    )


def test_kills_cost_only_what_was_in_flight(data: dict[str, bytes], tmp_path: Path) -> None:
    chance = random.Random(os.urandom(8))
    size = sum(map(len, data.values()))
    with FakeHub(dict(data), Manner(rate=8e6, only="GET")) as hub:
        for _ in range(KILLS):
            before = hub.body_bytes
            with start(hub, tmp_path) as process:
                # Between the first bytes and the last.
                until = before + chance.randint(1, 3_000_000)
                while hub.body_bytes < until and process.poll() is None:
                    time.sleep(0.005)
                process.kill()
        hub.manner = Manner()
        with start(hub, tmp_path) as process:
            assert process.stderr is not None
            said = process.stderr.read()
        assert process.returncode == 0, said
        assert whole(tmp_path, data)
        assert "already downloaded" in said
        # What the fake had handed to the system for a connection counts as sent: 1 MiB a file.
        assert hub.body_bytes <= 1.05 * size + KILLS * 3 * (1 << 20)
        with start(hub, tmp_path, "verify", NAMED) as process:
            process.communicate()
        assert process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_says_that_what_came_is_kept(data: dict[str, bytes], tmp_path: Path) -> None:
    with FakeHub(dict(data), Manner(rate=4e6, only="GET")) as hub:
        with start(hub, tmp_path) as process:
            while hub.body_bytes < 3_000_000:
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            assert process.stderr is not None
            said = process.stderr.read()
            assert process.wait(20) == 130
        assert time.monotonic() - began < 5
        assert "resumes when you run the same command again" in said
        assert "Traceback" not in said
        hub.manner = Manner()
        with start(hub, tmp_path) as process:
            process.communicate()
        assert whole(tmp_path, data)
        assert hub.body_bytes < 1.2 * sum(map(len, data.values()))
