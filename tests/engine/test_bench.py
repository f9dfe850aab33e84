"""`steprun bench` on tiny Step: with the embedded engine, and with one that was built here."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.engine.installed import store
from runner.engine.installed.stamp import Feature
from tests.conftest import INTERRUPTIBLE

pytestmark = pytest.mark.engine
built = pytest.mark.timeout(2400)  # the first time it is built


@pytest.fixture
def engine(built: store.InstalledEngine) -> str:
    """Let the engine that was built have passed its canary."""
    passed = {"text": Feature("pass"), "threads": Feature("pass")}
    # As its canary would find on a processor with AMX; elsewhere it does no harm.
    return store.update(built, built.stamp.with_results(passed, ("--no-repack",))).name


def bench(tiny: Path, *arguments: str) -> list[str]:
    model = ("--model", str(tiny / "tiny-step.gguf"))
    return [*INTERRUPTIBLE, "bench", *model, *arguments]


def document(tiny: Path, *arguments: str) -> dict[str, Any]:
    ended = subprocess.run(
        bench(tiny, "--json", *arguments), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def holds(found: dict[str, Any]) -> None:
    assert found["schema"] == "steprun.bench/1"
    assert found["finished"] is True
    assert (found["model"], found["quant"]) == ("tiny-step", "Q8_0")
    # The context of 2,176 tokens is full to the last: 2,048 read and 128 written.
    assert [row["n_prompt"] for row in found["rows"]] == [0, 2_048]
    assert found["left_out"] == [8_192, 16_384, 32_768]
    for row in found["rows"]:
        assert (row["n_gen"], row["parallel"]) == (128, 1)
        assert row["n_kv"] == row["n_prompt"] + 128
        assert row["decode_tps"] == pytest.approx(128 / row["decode_s"], rel=0.01)
        assert "published_decode_tps" not in row
    read = found["rows"][1]
    assert read["prefill_tps"] == pytest.approx(2_048 / read["prefill_s"], rel=0.01)
    assert found["rows"][0]["prefill_tps"] == 0


def test_the_embedded_engine_through_its_api(tiny: Path, home: Path) -> None:
    found = document(tiny, "--engine", "embedded", "--ctx", "2176")
    assert (found["engine"], found["method"]) == ("embedded", "api")
    holds(found)
    assert {path.name for path in (home / "state" / "engines").iterdir()} <= {"start.lock"}


@built
def test_a_built_engine_by_its_own_tool(tiny: Path, engine: str) -> None:
    found = document(tiny, "--engine", engine, "--ctx", "2176")
    assert (found["engine"], found["method"]) == (engine, "llama-batched-bench")
    holds(found)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    "name", [pytest.param("built", marks=built), pytest.param("embedded", id="embedded")]
)
def test_ctrl_c_shows_the_rows_so_far(tiny: Path, name: str, request: Any) -> None:
    if name == "built":
        name = request.getfixturevalue("engine")
    with subprocess.Popen(
        bench(tiny, "--engine", name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline(), process.stdout.readline()]
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert seen[1].split()[0] == "0"
    assert "32,768" not in out
    assert err.splitlines()[-1] == "interrupted"
    assert children
    assert not any(child.is_running() for child in children)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_engine_that_dies_leaves_its_rows_and_a_reason(tiny: Path) -> None:
    """The document comes only at the end, so that the error is what can be waited for."""
    with subprocess.Popen(
        bench(tiny, "--engine", "embedded"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.stdout.readline().split()[0] == "0"
        (guard,) = psutil.Process(process.pid).children()
        guard.children()[0].kill()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "SIGKILL" in err
