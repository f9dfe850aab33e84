"""`steprun engine build` without a source: two engines, and the better of them."""

from collections.abc import Callable, Mapping

import pytest

from runner import canary
from runner.base.errors import SteprunError
from runner.cli.commands import engine_build
from runner.engine.builder import Tree, needs, sources
from runner.engine.builder import build as building
from runner.engine.builder.recipe import load_recipe
from runner.engine.builder.recipe_rows import Tools
from runner.engine.installed import store
from runner.engine.installed.pick import better
from runner.engine.installed.stamp import FEATURES, Feature, Origin
from runner.machine.facts import Backend, with_backend
from runner.run.machine_view import probed
from tests.unit.cli.test_engine_command import run
from tests.unit.engine.test_store import made

FINE = {name: Feature("pass", 10.0 / len(FEATURES)) for name in FEATURES}
FASTER = {name: Feature("pass", 5.0 / len(FEATURES)) for name in FEATURES}
ALIKE = {name: Feature("pass", 9.5 / len(FEATURES)) for name in FEATURES}
LACKS = {**FASTER, "mtp": Feature("fail", 0.1, "no drafts")}
BROKEN = {**FASTER, "text": Feature("fail", 0.1, "nonsense")}
Found = Mapping[str, Feature]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have sources and builds that take no time; what each engine's canary finds is given."""

    def prepare(gone: tuple[str, ...] = (), **found: Found) -> list[str]:
        asked: list[str] = []

        def fetch(source: str, *_: object, at: str = "") -> Tree:
            asked.append(source)
            if source in gone:
                raise SteprunError(f"{source} could not be reached.", why="No route to host.")
            return Tree(store.work_dir(), Origin(source, version=at))

        def build(_r: object, _m: object, _t: object, tree: Tree, _p: object) -> object:
            return made(tree.origin.source)

        def ask(engine: store.InstalledEngine, *_: object) -> tuple[Found, tuple[str, ...]]:
            return found.get(engine.name, FINE), ()

        monkeypatch.setattr(needs, "find_tools", lambda *_: Tools())
        monkeypatch.setattr(sources, "fetch_source", fetch)
        monkeypatch.setattr(building, "build", build)
        monkeypatch.setattr(canary, "run", ask)
        return asked

    return prepare


def test_both_are_built_and_the_faster_one_is_taken(builds):
    assert builds(upstream=FASTER) == []
    result = run("build", "--backend", "cpu")
    said = " ".join(result.stderr.split())
    assert said.index("Building two engines") < said.index("Building llama-server from stepfun")
    assert " min with this computer's cores" in said
    assert "GiB of disk" in said
    assert "upstream is taken: its self-test took 5.0 s, that of stepfun 10.0 s." in said
    assert store.current().name == "upstream"
    assert [each.name for each in store.engines()] == ["embedded", "stepfun", "upstream"]


def test_without_a_git_host_the_package_with_the_same_tree_is_built(builds):
    asked = builds(gone=("stepfun", "upstream"))
    said = " ".join(run("build", "--backend", "cpu").stderr.split())
    assert asked == ["stepfun", "upstream", "xllamacpp"]
    assert "There is no engine from stepfun: stepfun could not be reached. No route" in said
    assert "xllamacpp is the only one that could be built." in said
    assert store.current().name == "xllamacpp"


def test_where_none_can_be_had_the_error_is_the_last_ones(builds):
    builds(gone=("stepfun", "upstream", "xllamacpp"))
    with pytest.raises(SteprunError, match="xllamacpp could not be reached"):
        run("build", "--backend", "cpu")
    assert store.current().name == ""


@pytest.mark.parametrize("source", ["stepfun", "upstream"])
def test_a_source_that_is_named_is_the_only_one(builds, source):
    asked = builds()
    run("build", "--backend", "cpu", "--source", source)
    assert asked == [source]
    assert store.current().name == source


def test_without_a_test_none_is_activated(builds):
    builds()
    run("build", "--backend", "cpu", "--no-test")
    assert store.current().name == ""
    assert len(store.engines()) == 3


@pytest.mark.parametrize(
    ("first", "second", "best", "why"),
    [
        (FINE, FASTER, "second", "5.0 s, that of first 10.0 s"),
        (FASTER, FINE, "first", "5.0 s, that of second 10.0 s"),
        (FINE, ALIKE, "first", "about the same"),
        (FINE, LACKS, "first", "it passes at draft heads, and second does not"),
        (LACKS, FINE, "second", "it passes at draft heads, and first does not"),
        (BROKEN, LACKS, "second", "first fails its self-test"),
        (LACKS, BROKEN, "first", "second fails its self-test"),
    ],
)
def test_the_better_of_two(home, first, second, best, why):
    engines = [
        store.InstalledEngine(each.stamp.with_results(found, ()), each.folder)
        for each, found in ((made("first"), first), (made("second"), second))
    ]
    taken, line = better(*engines)
    assert taken.name == best
    assert line.startswith(f"{best} is taken: ")
    assert why in line


def test_a_computer_with_more_cores_needs_less_time():
    from dataclasses import replace

    here = replace(with_backend(probed(), Backend.CPU), available_bytes=64 << 30, cores=2)
    recipe = load_recipe(Backend.CPU)
    assert "about 12 min" in engine_build.announcement(recipe, here)
    assert "about 1 min" in engine_build.announcement(recipe, replace(here, cores=20))
