"""All 105 GB, rehearsed: the twin's shards are served by a fake hub, fetched, proven and started.

They are zeros, and take no room on either side. Only the disk's free space is a lie here.
"""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from filelock import FileLock

from tests.conftest import CACHE
from tests.engine.conftest import serve
from tests.engine.test_twin import pytestmark as needs
from tests.fakes.hub import COMMIT, FakeHub

pytestmark = [*needs, pytest.mark.slow]
SHARDS = [f"step-twin-IQ4_XS-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
NAMED = f"hf:o/r/IQ4_XS/{SHARDS[0]}"
# The disk says that it has room: it needs none.
STEPRUN = """
import shutil, sys
from collections import namedtuple
usage = namedtuple("usage", "total used free")
shutil.disk_usage = lambda _: usage(1 << 40, 0, 1 << 40)
from runner.cli.main import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def sums(twin: Path) -> dict[Path, str]:
    """Return the shards' own sha256, made once for as long as they stay as they are."""
    found = {str(p): [p.stat().st_size, p.stat().st_mtime_ns] for p in map(twin.joinpath, SHARDS)}
    kept = CACHE / "twin-sums.json"
    with FileLock(CACHE / "twin-sums.lock"):
        told = json.loads(kept.read_text()) if kept.exists() else {}
        if told.get("of") != found:
            with ThreadPoolExecutor(3) as pool:
                told = {"of": found, "sums": dict(zip(found, pool.map(digest, found), strict=True))}
            kept.write_text(json.dumps(told))
    return {Path(path): text for path, text in told["sums"].items()}


def digest(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def steprun(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STEPRUN, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


def test_all_of_it_comes_is_proven_and_starts(
    twin: Path, sums: dict[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"IQ4_XS/{name}": twin / name for name in SHARDS}
    size = sum(path.stat().st_size for path in files.values())
    assert size > 104e9
    hub_home = tmp_path / "hub"
    env = {"HF_HOME": str(hub_home), "STEPRUN_HOME": str(tmp_path)}
    with FakeHub(dict(files), sums=sums) as hub:
        ended = steprun({**env, "HF_ENDPOINT": hub.url}, "models", "pull", NAMED)
        assert ended.returncode == 0, ended.stderr
        assert hub.body_bytes == size
    print(ended.stderr)
    snapshot = hub_home / "hub" / "models--o--r" / "snapshots" / COMMIT / "IQ4_XS"
    assert [(snapshot / name).resolve().name for name in SHARDS] == [
        sums[twin / name] for name in SHARDS
    ]
    assert sum((snapshot / name).stat().st_blocks for name in SHARDS) * 512 < 1 << 30
    # From here on without a network.
    monkeypatch.setenv("HF_HOME", str(hub_home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ask = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    words = ("--model", NAMED, "--ctx", "8192", "--allow-paging")
    with serve(tmp_path, *words, wait_s=600) as running:
        reply = httpx2.post(f"{running.url}/v1/chat/completions", json=ask, timeout=600)
        assert reply.status_code == 200, reply.text
        assert reply.json()["usage"]["completion_tokens"] == 1
