"""The canary on the embedded engine: what it can do, as measured."""

from pathlib import Path

import psutil
import pytest

from runner import canary
from runner.canary import model, rounds
from runner.canary.checks import STEPS
from runner.engine.installed import store
from runner.engine.installed.stamp import FEATURES, Feature
from runner.plan.launch import EngineFiles

pytestmark = pytest.mark.engine

SAFE = ("--no-repack",)


@pytest.fixture(autouse=True)
def made(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> EngineFiles:
    """Take the test bed's files: the same ones, made once for all tests."""
    names = ("tiny-step-trunk.gguf", "mmproj-tiny-step.gguf", "tiny-step-mtp.gguf")
    files = EngineFiles(*(tiny / name for name in names))
    monkeypatch.setattr(model, "files", lambda: files)
    return files


@pytest.mark.timeout(900)  # 8 s on two quiet cores; engines that share them wait for each other
def test_the_embedded_engine_does_everything(home: Path) -> None:
    told: dict[str, Feature] = {}
    features, safe = canary.run(store.embedded(), SAFE, told.__setitem__)
    assert {n: f.result for n, f in features.items()} == dict.fromkeys(FEATURES, "pass"), told
    assert told == features
    assert safe == ()
    assert {path.name for path in (home / "state" / "engines").iterdir()} <= {"start.lock"}
    left = [p.as_dict(["cmdline"])["cmdline"] for p in psutil.Process().children(True)]
    assert not any("embedded" in str(words) for words in left)
    proven = store.update(store.embedded(), store.embedded().stamp.with_results(features, safe))
    assert store.embedded().stamp == proven.stamp
    assert proven.stamp.passed


def test_an_engine_whose_model_does_not_load_is_not_asked_on(
    monkeypatch: pytest.MonkeyPatch, made: EngineFiles, tmp_path: Path
) -> None:
    """As an engine that does not know the model's kind would say it."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(made.weights.read_bytes()[: 5 << 20])
    monkeypatch.setattr(model, "files", lambda: EngineFiles(cut, made.projector, made.mtp))
    features, safe = canary.run(store.embedded(), SAFE)
    assert {found.result for found in features.values()} == {"fail"}
    assert "could not load the model" in features["text"].why
    assert features["slots"].why.startswith("Not tested")
    assert safe == ()


def test_a_file_without_draft_heads_is_found(
    monkeypatch: pytest.MonkeyPatch, made: EngineFiles
) -> None:
    """It is the trunk once more: a real engine ends over it, or drafts nothing."""
    files = EngineFiles(made.weights, made.projector, made.weights)
    monkeypatch.setattr(model, "files", lambda: files)
    monkeypatch.setattr(rounds, "STEPS", [step for step in STEPS if step.feature == "mtp"])
    features, _ = canary.run(store.embedded(), ())
    assert features["mtp"].result == "fail"
    assert features["mtp"].why
