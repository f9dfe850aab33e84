"""llama-cpp-python as an engine: its flags, and how it is made (of a fake package)."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import product
from pathlib import Path

import psutil
import pytest

from runner.base.errors import SteprunError
from runner.base.progress import Phase, Progress
from runner.engine.installed import store
from runner.engine.installed.describe import describe, flags_of
from runner.engine.installed.stamp import Kind
from runner.engine.llama_cpp_python import install, server
from runner.engine.llama_cpp_python.server import flags
from runner.engine.llama_cpp_python.server.flags import FLAGS, QUESTIONS, help_text, translate
from runner.plan.launch import EngineFiles, Settings, launch
from tests.fakes import python_package

# --- flags


def test_help_lists_every_flag() -> None:
    assert flags_of(help_text()) == {*FLAGS, *QUESTIONS}


@pytest.mark.parametrize(
    ("load_mode", "kv_type"), product(("", "none", "mmap", "dio", "mlock"), ("f16", "q8_0"))
)
def test_every_launch_line_is_understood(load_mode: str, kv_type: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("# a comment\nk3y\n")
    files = EngineFiles(tmp_path / "a.gguf", projector=tmp_path / "p.gguf", mtp=tmp_path / "m.gguf")
    settings = Settings(
        context=8192,
        kv_type=kv_type,
        threads=4,
        load_mode=load_mode,
        mtp_tokens=2,
        repack=False,
        mmproj_on_cpu=True,
        layers=(20, 25),
        sampling=(("temp", 1.0), ("repeat-penalty", 1.1), ("predict", 1024)),
    )
    argv = launch(files, settings, frozenset(FLAGS)).argv
    wanted = translate([*argv, "--port", "81", "--host", "::1", "--api-key-file", str(key)])
    model = wanted["model"]
    assert model["model"] == str(files.weights)
    assert (model["clip_model_path"], model["chat_format"]) == (str(files.projector), "mtmd")
    assert (model["n_ctx"], model["n_threads"], model["n_threads_batch"]) == (8192, 4, 4)
    assert model["type_k"] == model["type_v"] == f"GGML_TYPE_{kv_type.upper()}"
    assert (model["split_mode"], model["tensor_split"]) == ("LLAMA_SPLIT_MODE_LAYER", [20.0, 25.0])
    assert model["flash_attn"] is True
    assert wanted["server"] == {
        "host": "::1",
        "port": 81,
        "api_key": "k3y",
        "interrupt_requests": False,
    }
    assert wanted["params"] == {"use_extra_bufts": False}
    assert wanted["request"] == {"temperature": 1.0, "repeat_penalty": 1.1, "max_tokens": 1024}
    assert wanted["own"] == {"sight_on_gpu": False, "origins": "localhost"}
    assert (model.get("use_mmap"), model.get("use_mlock")) == {
        "": (None, None),
        "none": (False, False),
        "dio": (False, False),
        "mmap": (True, False),
        "mlock": (False, True),
    }[load_mode]


def test_left_alone_it_keeps_no_logits_and_listens_here() -> None:
    wanted = translate(["--model", "a.gguf"])
    assert wanted["model"]["logits_all"] is False
    assert "chat_format" not in wanted["model"], "the model's own template"
    assert wanted["server"]["host"] == "127.0.0.1"
    assert wanted["request"] == {"repeat_penalty": 1.0}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--model FILE is missing"),
        (["--model"], "--model needs a value"),
        (["--slots", "4"], "unknown flag --slots"),
        (["a.gguf"], "unknown flag a.gguf"),
        (["--ctx-size", "8k"], "--ctx-size cannot be '8k'"),
        (["--flash-attn", "auto"], "--flash-attn cannot be 'auto'"),
        (["--load-mode", "fast"], "--load-mode cannot be 'fast'"),
        (["--tensor-split", "3,x"], "--tensor-split cannot be '3,x'"),
        (["--api-key-file", "/nowhere"], "--api-key-file cannot be '/nowhere'"),
    ],
)
def test_a_line_that_is_not_understood_is_named(argv: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        translate(argv)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("# none\n\n", 0), ("a\nb\n", 2)])
def test_one_key_is_what_the_server_knows(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(ValueError, match=f"it holds {count} keys"):
        translate(["--model", "a", "--api-key-file", str(tmp_path / "key")])


def test_it_imports_nothing_of_steprun() -> None:
    for path in Path(flags.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] == "runner"], path


# --- how it is made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "package.tar.gz"
    python_package.write(path)
    return path


def names() -> list[str]:
    return [engine.name for engine in store.engines()]


def test_made_of_a_package(archive: Path) -> None:
    told: list[Progress] = []
    engine = python_package.install(archive, told.append)
    assert names() == ["embedded", "cpu-python-0.3.36"]
    stamp = engine.stamp
    assert stamp.kind is Kind.PYTHON
    assert stamp.flags == {*FLAGS, *QUESTIONS}
    assert stamp.version == "llama-cpp-python 0.3.36"
    assert len(stamp.origin.sha256) == 64
    assert "-DGGML_NATIVE=ON" in stamp.cmake
    assert Progress(Phase.COMPILING, 3, 3) in told
    (built,) = engine.folder.glob("venv/**/llama_cpp/built.json")
    assert set(stamp.cmake) == set(json.loads(built.read_text())["CMAKE_ARGS"].split())
    assert [p.name for p in store.work_dir().iterdir() if p.is_dir()] == [], "and nothing is left"


def test_it_runs_from_where_it_is_moved_to(archive: Path, tmp_path: Path) -> None:
    engine = python_package.install(archive)
    moved = engine.folder.rename(tmp_path / "else where")
    first, *rest = engine.stamp.program
    assert describe([str(moved / first), *rest]).flags == engine.stamp.flags
    # Not out of a folder that happens to be the current one, nor out of somebody's PYTHONPATH.
    (tmp_path / "here" / "steprun_server").mkdir(parents=True)
    said = subprocess.run(
        [str(moved / first), *rest, "--version"],
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "here")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "version: llama-cpp-python 0.3.36\n"


def test_its_server_is_a_copy_of_ours(archive: Path) -> None:
    engine = python_package.install(archive)
    (copy,) = engine.folder.glob(f"venv/**/{install.MODULE}")
    ours = Path(server.__file__).parent
    for path in ours.glob("*.py"):
        assert (copy / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("mode", "what", "why"),
    [
        ("fail", "llama-cpp-python for CPU does not compile.", "llama.cpp:7:1: error: expected"),
        ("no network", "llama-cpp-python for CPU does not compile.", "index could not be reached"),
    ],
)
def test_what_fails_is_told_and_the_next_run_goes_on(
    mode: str, what: str, why: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BUILD", mode)
    with pytest.raises(SteprunError) as caught:
        python_package.install(archive)
    assert caught.value.what == what
    assert why in str(caught.value.why)
    assert "(log: " in str(caught.value.next)
    assert names() == ["embedded"]
    monkeypatch.delenv("FAKE_BUILD")
    archive.write_bytes(b"")  # what was unpacked is used again
    python_package.install(archive)
    assert names() == ["embedded", "cpu-python-0.3.36"]


def hanging(archive: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start an installation whose build hangs; return it and the compiler's pid."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.python_package", str(archive), "hang"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for found in store.work_dir().glob("*/out/hangs"):
            if text := found.read_text():
                return process, int(text)
        time.sleep(0.05)
    process.kill()
    pytest.fail("the build did not begin")


@pytest.mark.parametrize("number", ["SIGKILL", "SIGINT"])
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_run_leaves_no_compiler_and_the_next_goes_on(number: str, archive: Path) -> None:
    process, compiler = hanging(archive)
    process.send_signal(getattr(signal, number))
    process.wait(30)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(compiler).wait(30)
    assert not psutil.pid_exists(compiler)
    assert names() == ["embedded"]
    told: list[Progress] = []
    python_package.install(archive, told.append)
    assert names() == ["embedded", "cpu-python-0.3.36"]
    assert Progress(Phase.COMPILING, 1, 1) in told, "two of three steps were there"
