"""The parts of a build that need no compiler: its name, its key, its counts, its room."""

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from runner.base.errors import Refused
from runner.engine.builder import Tree, build, recipe, steps
from runner.engine.builder.recipe import Recipe
from runner.engine.builder.recipe_rows import Tools
from runner.engine.installed import store
from runner.engine.installed.stamp import Origin
from runner.engine.process.log import LogReader
from runner.machine.captures import presets
from runner.machine.captures.capture import Replay
from runner.machine.facts import Backend
from runner.machine.probe import detect

CPU = recipe.load_recipe(Backend.CPU)
HERE = replace(detect(Replay(presets.load_preset("cpu-24"))))
TOOLS = Tools({"cmake": "/usr/bin/cmake", "ninja": "/usr/bin/ninja"}, {"C++ compiler": "c++ 12"})
ORIGIN = Origin("stepfun", "https://x/llama.cpp.git", "step3.7", "0c1e57098bba43ac29e6")
TREE = Tree(Path("/src"), ORIGIN)


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        (ORIGIN, "cpu-stepfun-step3.7-0c1e570"),
        (Origin("llama-cpp-python", "llama-cpp-python", "0.3.36"), "cpu-llama-cpp-python-0.3.36"),
        (Origin("folder", "/home/me/llama.cpp"), "cpu-folder"),
        (Origin("folder", "", "My Branch/../x"), "cpu-folder-my-branch-..-x"),
        (Origin("folder", "", "x" * 200), "cpu-folder-" + "x" * 69),
    ],
)
def test_the_name_says_backend_source_and_commit(origin: Origin, name: str) -> None:
    made = build.name_of(CPU, Tree(Path("/src"), origin))
    assert made == name
    assert store.NAME.fullmatch(made)


def folder(recipe: Recipe = CPU, tree: Tree = TREE, tools: Tools = TOOLS) -> Path:
    return build.plan_build(recipe, HERE, tools, tree)[0]


def test_another_build_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    here = folder()
    assert here == folder()
    others = [
        folder(recipe.load_recipe(Backend.VULKAN)),
        folder(tree=replace(TREE, path=Path("/other"))),
        folder(tree=replace(TREE, origin=replace(ORIGIN, version="step4"))),
        folder(tools=replace(TOOLS, versions={"C++ compiler": "c++ 13"})),
        folder(tools=Tools({**TOOLS.values, "ninja": "/usr/bin/make"})),
    ]
    monkeypatch.setenv("CXXFLAGS", "-O1")
    others.append(folder())
    assert len({here, *others}) == 7


def test_the_folder_is_known_before_the_commit_is_fetched() -> None:
    assert folder(tree=replace(TREE, origin=replace(ORIGIN, commit=""))) == folder()


def test_another_commit_begins_anew(tmp_path: Path) -> None:
    work = tmp_path / "build"
    build.prepare_folder(work, "abc")
    (work / "out").mkdir()
    build.prepare_folder(work, "abc")
    assert (work / "out").is_dir(), "the same commit resumes"
    build.prepare_folder(work, "def")
    assert not (work / "out").exists()
    (work / "out").mkdir()
    (work / "commit").unlink()
    build.prepare_folder(work, "def")
    assert not (work / "out").exists(), "nobody knows what it was built from"


def test_less_free_memory_does_not_begin_anew() -> None:
    loaded = replace(HERE, available_bytes=1 << 30)
    assert build.plan_build(CPU, loaded, TOOLS, TREE)[0] == folder()


def test_counts_are_read_from_a_growing_log(tmp_path: Path) -> None:
    log, counter = tmp_path / "log", steps.Counter()
    reader = LogReader(log)
    assert counter.latest(reader.lines()) is None  # not there yet
    log.write_bytes(b"ninja: Entering directory\n[1/345] Building CXX object a\n[2/3")
    assert counter.latest(reader.lines()) == (1, 345)
    assert counter.latest(reader.lines()) is None
    with log.open("ab") as more:
        more.write(b"45] Building\n[1/4] shaders of its own\n[2/4] shaders of its own\n")
    assert counter.latest(reader.lines()) == (2, 345)
    log.write_bytes(b"[3/345] a new page\n")  # the guard began a new one
    assert counter.latest(reader.lines()) == (3, 345)


def test_make_counts_in_percent() -> None:
    counter = steps.Counter()
    lines = ["[  3%] Building", "[ 37%] Linking", "[ 25%] Building"]
    assert counter.latest(lines) == (37, 100)  # they run in parallel
    assert counter.latest(["[ 31%] Building"]) is None


def test_the_end_of_a_log_may_lie_on_the_page_before(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(b"the error\n")
    (tmp_path / "log").write_bytes(b"last words\n")
    assert steps.log_tail(tmp_path / "log") == "the error\nlast words\n"


def test_a_full_disk_is_refused_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's own
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 5 << 20))
    with pytest.raises(Refused, match="too full"):
        build.build(CPU, HERE, TOOLS, TREE, lambda *_: None)


def test_only_finished_builds_of_the_same_backend_are_cleaned_away() -> None:
    from filelock import FileLock

    work = store.work_dir()
    for name in ("build-cpu-old", "build-cpu-busy", "build-cuda-old"):
        (work / name).mkdir()
    with FileLock(work / "build-cpu-busy.lock"):
        build.remove_old_builds(work / "build-cpu")
    assert sorted(path.name for path in work.iterdir() if path.is_dir()) == [
        "build-cpu-busy",
        "build-cuda-old",
    ]
