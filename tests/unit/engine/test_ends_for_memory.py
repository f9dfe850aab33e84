"""Whether an engine ended for want of memory: by its status, its log, and the kernel's count."""

from pathlib import Path

import pytest

from runner.engine.process.diagnose import diagnose, out_of_memory
from runner.engine.process.memory_watch import MARK
from runner.engine.process.oom_kills import oom_kills

KILLED = 128 + 9
CUDA = "0.00.012.293 E ggml_cuda: CUDA error: out of memory"


@pytest.mark.parametrize(
    ("status", "log", "ready", "oom", "is_so"),
    [
        (KILLED, f"x\n{MARK}400 MiB were left.\n", True, False, True),
        (KILLED, "x", True, True, True),
        (KILLED, "out of memory", True, False, False),  # somebody has killed it
        (128 + 15, CUDA, False, True, False),
        (1, "failed to allocate buffer of size 9", False, False, True),
        (1, "failed to load model", False, True, False),
        (128 + 6, CUDA, True, False, True),
        (128 + 6, f"{CUDA}\n0.09.012.293 I later", True, False, False),
        (None, "", False, False, False),
    ],
)
def test_an_end_for_want_of_memory_is_known(
    status: int | None, log: str, ready: bool, oom: bool, is_so: bool
) -> None:
    assert out_of_memory(status, log, ready=ready, oom=oom) is is_so


def test_a_kill_by_the_system_is_named() -> None:
    error = diagnose(KILLED, "", "/log", ready=True, oom=True)
    assert "The system killed the engine" in error.what
    assert "steprun plan" in error.next


@pytest.mark.parametrize(
    ("text", "count"),
    [("nr_free_pages 7\noom_kill 5\n", 5), ("nr 7\n", None), ("oom_kill x\n", None), (None, None)],
)
def test_the_count_of_the_kernel_is_read(tmp_path: Path, text: str | None, count: object) -> None:
    file = tmp_path / "vmstat"
    if text is not None:
        file.write_text(text, "ascii")
    assert oom_kills(file) == count
