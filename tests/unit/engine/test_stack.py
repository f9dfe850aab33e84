"""How large an engine's stack may be, and that the engine's threads get it."""

import sys
from pathlib import Path

import pytest

from runner.engine.process import stack
from runner.engine.process.guarded import Guarded

GIB, MIB = 1 << 30, 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


@pytest.mark.parametrize(
    ("soft", "hard", "strict", "wanted"),
    [
        (8 * MIB, -1, False, GIB),
        (8 * MIB, 64 * MIB, False, 64 * MIB),
        (-1, -1, False, GIB),  # else each thread has 2 MiB
        (2 * GIB, -1, False, 0),
        (8 * MIB, -1, True, 0),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_allows(soft, hard, strict, wanted):
    assert stack.wanted(soft, hard, strict=strict) == wanted


@linux
def test_a_strict_system_keeps_its_limit(monkeypatch, tmp_path):
    assert stack.for_engine() in {0, GIB}
    file = tmp_path / "overcommit_memory"
    file.write_text("2\n")
    monkeypatch.setattr(stack, "_OVERCOMMIT", file)
    assert stack.for_engine() == 0
    assert stack.longest_word() > 5_000


def test_elsewhere_a_usual_stack_is_assumed(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert stack.for_engine() == 0
    assert stack.longest_word() == 21_845
    assert stack.longest_word(passed=True) == 0, "its self-test has seen to it"


@linux
def test_on_linux_a_passed_self_test_lifts_no_bound():
    assert stack.longest_word(passed=True) == stack.longest_word()


@linux
def test_a_guarded_program_gets_its_stack(tmp_path: Path):
    script = "import resource; print(resource.getrlimit(resource.RLIMIT_STACK)[0])"
    before = __import__("resource").getrlimit(__import__("resource").RLIMIT_STACK)[0]
    for size, found in ((64 * MIB, 64 * MIB), (0, before)):
        with Guarded([sys.executable, "-c", script], tmp_path / "log", stack=size) as running:
            assert running.status(20) == 0
        assert (tmp_path / "log").read_text().split() == [str(found)]
