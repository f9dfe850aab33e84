"""The full-size model, rehearsed: real header, real caches, sparse zeros for weights."""

import json
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.engine.conftest import serve

GIB = 1 << 30
pytestmark = [
    pytest.mark.engine,
    pytest.mark.twin,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="sparse files and their mapping"),
    pytest.mark.skipif(
        psutil.virtual_memory().total < 20 * GIB, reason="needs about 11 GB of free memory"
    ),
]
CACHE_LINE = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB \( *(\d+) cells, +(\d+) layers")
COMPUTE_LINE = re.compile(r"compute buffer size = +([\d.]+) MiB")


def arguments(twin: Path, weights: str) -> list[str]:
    return [
        *("--model", str(twin / weights)),
        *("--projector", str(twin / "mmproj-step-twin.gguf")),
        *("--mtp", str(twin / "step-twin-mtp.gguf")),
        *("--ctx", "131072", "--kv", "f16", "--allow-paging"),
    ]


def planned(twin: Path, weights: str) -> dict[str, int]:
    ran = subprocess.run(
        [sys.executable, "-m", "runner", "plan", "--json", *arguments(twin, weights)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return {row["item"]: row["bytes"] for row in json.loads(ran.stdout)["ledger"]}


def test_shards_and_one_file_are_the_same_model(twin: Path) -> None:
    one = planned(twin, "step-twin-IQ4_XS.gguf")
    three = planned(twin, "step-twin-IQ4_XS-00001-of-00003.gguf")
    assert one == three
    assert one["weights"] == 104_988_283_392, "the tensors of the published header, padded"


def test_the_full_size_model_is_served_with_all_its_parts(twin: Path, tmp_path: Path) -> None:
    import httpx2

    weights = "step-twin-IQ4_XS-00001-of-00003.gguf"
    told = planned(twin, weights)
    with serve(tmp_path, *arguments(twin, weights), wait_s=600) as running:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        reply = httpx2.post(f"{running.url}/v1/chat/completions", json=body, timeout=600)
        assert reply.status_code == 200, reply.text
        assert reply.json()["usage"]["completion_tokens"] == 2
        log = running.log()
        processes = psutil.Process(running.process.pid).children(recursive=True)
        private = sum(p.memory_info().rss - p.memory_info().shared for p in processes)
    caches = {int(layers): mib for mib, _, layers in CACHE_LINE.findall(log)}
    assert f"{told['kv_full'] / 2**20:.2f}" == caches[12]
    assert f"{told['kv_sliding'] / 2**20:.2f}" == caches[33]
    heads = (twin / "step-twin-mtp.gguf").stat().st_size
    assert f"{(told['mtp'] - heads) / 2**20:.2f}" == caches[3]
    # One line for each graph, printed again after the warm-up.
    seen = sum({float(mib) for mib in COMPUTE_LINE.findall(log)})
    logits = 2 * 4 * 128_896 / 2**20  # the engine prints its output buffers apart
    counted = (told["compute"] + told["vision_compute"]) / 2**20 - logits
    assert counted == pytest.approx(seen, rel=0.01)
    # What is not mapped from the disk; less than planned, as untouched pages take nothing.
    planned_private = sum(told.values()) - told["weights"] - heads - told["reserve"]
    assert private <= planned_private
    # A checkpoint is made when a prompt needs it.
    assert private >= 0.85 * (planned_private - told["checkpoints"])
