"""Builds of a small fake llama.cpp, with a real cmake and real compilers: done, stopped, killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.base.errors import Exit, SteprunError
from runner.base.progress import WAITING_FOR_ANOTHER, Phase, Progress
from runner.engine.installed import store
from runner.engine.installed.stamp import Kind
from tests.conftest import ROOT
from tests.fakes import llama_tree

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        os.name != "posix" or not all(map(shutil.which, ("cmake", "c++"))),
        reason="no cmake, or no C++ compiler",
    ),
]
RUNNERS = [
    pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"no {name}"))
    for name in ("ninja", "make")
]


def nothing(*_: object) -> None:
    pass


def compilers(home: Path) -> list[psutil.Process]:
    """Return every process that works in a test's home, and is not this one."""
    found = []
    for process in psutil.process_iter():
        try:
            place = " ".join([process.cwd(), *process.cmdline()])
        except psutil.Error:
            continue
        if str(home) in place and process.pid != os.getpid():
            found.append(process)
    return found


def wait_for(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it does not happen")


def names() -> list[str]:
    return [engine.name for engine in store.engines()]


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_build_becomes_an_engine(tmp_path: Path, home: Path, runner: str) -> None:
    tree = llama_tree.write(tmp_path / "src")
    said: list[Progress] = []
    made = llama_tree.make(tree, said.append, runner)
    assert made.name == "cpu-stepfun-step3.7-0c1e570"
    assert names() == ["embedded", made.name]
    stamp = store.find_engine(made.name).stamp
    assert stamp.kind is Kind.SERVER
    assert stamp.origin == tree.origin
    assert "--list-devices" in stamp.flags
    assert "-DGGML_NATIVE=ON" in stamp.cmake
    assert made.tool("llama-batched-bench")
    # Nothing in it points back to where it was built.
    assert not list(store.work_dir().glob("build-*/"))
    assert subprocess.run([made.program[0], "--version"], check=True, capture_output=True).stdout
    steps = [seen.phase for seen in said]
    assert list(dict.fromkeys(steps)) == [Phase.CONFIGURING, Phase.COMPILING, Phase.INSTALLING]
    counts = [seen.done for seen in said if seen.phase is Phase.COMPILING and seen.total]
    assert counts == sorted(counts)
    assert len(counts) > 2


def test_a_build_that_is_stopped_leaves_no_compiler_and_goes_on_later(
    tmp_path: Path, home: Path
) -> None:
    tree = llama_tree.write(tmp_path / "src")

    def stop(seen: Progress) -> None:
        if seen.done >= 2:
            assert compilers(home)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llama_tree.make(tree, stop)
    assert not compilers(home)
    assert names() == ["embedded"]
    whole = 0

    def count(seen: Progress) -> None:
        nonlocal whole
        whole = max(whole, seen.total)

    llama_tree.make(tree, count, "ninja")
    assert 0 < whole <= 11 - 2  # 6 parts, an archive, 2 mains and 2 links, less what was there
    assert len(names()) == 2


def test_a_source_that_does_not_compile_says_its_error_and_can_be_mended(
    tmp_path: Path, home: Path
) -> None:
    tree = llama_tree.write(tmp_path / "src", 2)
    part = tree.path / "part1.cpp"
    good = part.read_text()
    part.write_text("int part1() { return missing; }\n")
    with pytest.raises(SteprunError) as caught:
        llama_tree.make(tree, nothing)
    assert caught.value.exit_code == Exit.FAILED
    assert "part1.cpp:1:22: error: 'missing' was not declared" in caught.value.why
    log = Path(caught.value.next.split("log: ")[1].rstrip(")"))
    assert "missing" in log.read_text()
    assert names() == ["embedded"]
    part.write_text(good)
    llama_tree.make(tree, nothing)
    assert len(names()) == 2


def test_a_failed_configure_does_not_spoil_the_next(tmp_path: Path, home: Path) -> None:
    tree = llama_tree.write(tmp_path / "src", 2)
    lists = tree.path / "CMakeLists.txt"
    good = lists.read_text()
    # Something wrong is found out, and remembered by cmake.
    lists.write_text(good + 'set(BAD 1 CACHE STRING "")\nmessage(FATAL_ERROR "It is no use")\n')
    with pytest.raises(SteprunError, match="could not be configured") as caught:
        llama_tree.make(tree, nothing)
    assert "It is no use" in caught.value.why
    lists.write_text(good + 'if(BAD)\nmessage(FATAL_ERROR "spoilt")\nendif()\n')
    llama_tree.make(tree, nothing)
    assert len(names()) == 2


def test_a_program_that_is_no_engine_is_not_listed(tmp_path: Path, home: Path) -> None:
    tree = llama_tree.write(tmp_path / "src", 1)
    main = tree.path / "main.cpp"
    main.write_text(main.read_text().replace("--model", "--other"))
    with pytest.raises(SteprunError, match="not a llama-server binary"):
        llama_tree.make(tree, nothing)
    assert names() == ["embedded"]


def test_the_second_of_two_waits_and_takes_what_the_first_made(tmp_path: Path, home: Path) -> None:
    tree = llama_tree.write(tmp_path / "src")
    other = start(tree.path)
    try:
        wait_for(lambda: compilers(home / "cache"))
        said: list[Progress] = []
        made = llama_tree.make(tree, said.append)
        ready = Progress(Phase.READY, detail=f"{made.name} is already installed")
        assert said == [WAITING_FOR_ANOTHER, ready]
        assert other.wait(30) == 0
        assert names() == ["embedded", made.name]
    finally:
        other.kill()
        other.wait()


def objects() -> int:
    return len(list(store.work_dir().rglob("*.o")))


def start(tree: Path, *more: str) -> subprocess.Popen[bytes]:
    """Build in a process of its own, which can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.llama_tree", str(tree), *more],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("with_guard", [False, True])
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_build_that_is_killed_leaves_nothing_and_is_finished_by_the_next(
    tmp_path: Path, home: Path, runner: str, with_guard: bool
) -> None:
    tree = llama_tree.write(tmp_path / "src", 20)
    chance = random.Random(4)
    for _ in range(int(os.environ.get("STEPRUN_TEST_KILLS", "3"))):
        process = start(tree.path, runner)
        wait_for(lambda: compilers(home / "cache"))
        # Anywhere in the build, which takes some seconds.
        threading.Event().wait(chance.uniform(0, 3))
        family = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        for guard in family if with_guard else []:
            guard.send_signal(signal.SIGKILL)
        process.wait()
        before = objects()
        wait_for(lambda: not compilers(home / "cache"), 60)
        if len(names()) == 2:
            break  # it had been done already
        # What was compiled at that moment may be finished; nothing goes on for long.
        assert objects() <= before + 2 * (os.cpu_count() or 1)
    llama_tree.make(tree, nothing, runner)
    made = store.find_engine("cpu-stepfun-step3.7-0c1e570")
    said = subprocess.run([made.program[0], "--version"], check=True, capture_output=True).stdout
    assert said.startswith(b"version: 20")  # every part is in it
    assert not compilers(home / "cache")


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_a_file_that_a_kill_left_half_written_is_made_again(tmp_path: Path, home: Path) -> None:
    tree = llama_tree.write(tmp_path / "src")

    def stop(_: object) -> None:
        if objects() >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llama_tree.make(tree, stop, "make")
    # make deletes what it knows to be half-made; a power cut gives it no time for that.
    for path in store.work_dir().rglob("part*.o"):
        path.write_bytes(path.read_bytes()[:100])
    said: list[Progress] = []
    llama_tree.make(tree, said.append, "make")
    assert Progress(Phase.RESTARTING) in said
    assert len(names()) == 2
