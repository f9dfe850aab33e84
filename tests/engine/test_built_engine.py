"""A llama-server that was built here out of its real source: what its canary finds, and its use."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from runner import canary
from runner.canary import model
from runner.engine.builder import Tree, configure, needs, recipe
from runner.engine.installed import store
from runner.engine.installed.stamp import FEATURES, Feature, Stamp
from runner.machine.captures import capture
from runner.machine.facts import Backend, on_processor
from runner.machine.probe import detect
from runner.plan.launch import EngineFiles
from tests.engine.conftest import serve

pytestmark = [pytest.mark.engine, pytest.mark.timeout(2400)]  # the first time it is built

# Options that this tree has no longer, and others have; cmake says so and goes on.
GONE = {"GGML_HIP_ROCWMMA_FATTN"}
# cmake's own, and those of the languages' packages.
CMAKES = re.compile(
    r"CMAKE_(BUILD_TYPE|CUDA_ARCHITECTURES|CUDA_COMPILER)|CUDAToolkit_ROOT|GPU_TARGETS"
)


def amx() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_tile" in cpuinfo.read_text()


@pytest.fixture
def tiny_files(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the test bed's files: the same ones, made once for all tests."""
    names = ("tiny-step-trunk.gguf", "mmproj-tiny-step.gguf", "tiny-step-mtp.gguf")
    files = EngineFiles(*(tiny / name for name in names))
    monkeypatch.setattr(model, "files", lambda: files)


def proven(engine: store.InstalledEngine) -> Stamp:
    features, flags = canary.run(engine, recipe.load_recipe(Backend.CPU).safe_flags)
    return store.update(engine, engine.stamp.with_results(features, flags)).stamp


@pytest.mark.usefixtures("tiny_files")
def test_the_canary_finds_what_works(built: store.InstalledEngine) -> None:
    """All does in this tree (llama.cpp b11549), with what the processor needs."""
    stamp = proven(built)
    found = {name: feature.result for name, feature in stamp.features.items()}
    assert found == dict.fromkeys(FEATURES, "pass"), stamp.features
    assert stamp.passed
    if amx():
        assert stamp.safe_flags == ("--no-repack",)
        why = stamp.features["threads"].why
        assert any(word in why for word in ("SIGSEGV", "SIGILL", "illegal instruction"))
    else:
        assert stamp.safe_flags == ()


def in_use(engine: store.InstalledEngine) -> None:
    """Put an engine in use without its canary, which another test asks."""
    passed = dict.fromkeys(("text", "threads"), Feature("pass"))
    store.update(engine, engine.stamp.with_results(passed, ("--no-repack",)))
    store.use(engine.name)


def ask(tiny: Path) -> subprocess.CompletedProcess[str]:
    words = ["chat", "--model", str(tiny / "tiny-step.gguf"), "--ctx", "4096", "-p", "Is it warm?"]
    return subprocess.run(
        [sys.executable, "-m", "runner", *words, "--max-tokens", "120"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_chat_says_which_engine_it_has(tiny: Path, built: store.InstalledEngine) -> None:
    in_use(built)
    ran = ask(tiny)
    assert f"Engine: {built.name}, cpu." in ran.stderr
    assert ran.stdout.strip()


def test_an_engine_removed_while_it_serves_serves_on(
    tiny: Path, built: store.InstalledEngine, home: Path
) -> None:
    in_use(built)
    with serve(home, "--model", str(tiny / "tiny-step.gguf"), "--ctx", "4096") as running:
        shutil.rmtree(built.folder)
        body = {"messages": [{"role": "user", "content": "Is it warm?"}], "max_tokens": 8}
        request = urllib.request.Request(
            f"{running.url}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert json.load(reply)["usage"]["completion_tokens"] > 0
    ran = ask(tiny)
    assert f"The engine {built.name} is missing" in ran.stderr
    assert "Engine: embedded" in ran.stderr
    assert ran.stdout.strip()


def test_every_definition_is_an_option_of_the_tree(tree: Tree) -> None:
    known = set()
    for path in tree.path.rglob("CMakeLists.txt"):
        text = path.read_text("utf-8", "replace")
        known |= set(re.findall(r"(?:option|set)\s*\(\s*([A-Za-z_0-9]+)", text))
    for backend in Backend:
        rules = recipe.load_recipe(backend)
        names = {row.name for row in (*rules.build.define, *rules.common.define)}
        assert {n for n in names if not CMAKES.fullmatch(n)} - known - GONE == set()


def test_the_tree_is_configured_without_a_word_of_warning(tree: Tree, tmp_path: Path) -> None:
    rules = recipe.load_recipe(Backend.CPU)
    here = on_processor(detect(capture.Live()))
    made = configure.configure(
        rules, here, needs.find_tools(rules, here), tree.path, tmp_path / "out"
    )
    done = subprocess.run(made.configure, capture_output=True, text=True, check=True)
    assert "unused" not in done.stderr
    assert "Manually-specified" not in done.stderr
