"""`scripts/test`: it fails if any step fails, and reports each step with its time."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.docs.texts import ROOT

GOOD = ("python", "-c", "print('fine')")
BAD = ("python", "-c", "raise SystemExit(3)")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the script, its steps replaced by small ones that pass."""
    loader = importlib.machinery.SourceFileLoader("test_script", str(ROOT / "scripts" / "test"))
    spec = importlib.util.spec_from_loader("test_script", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module._env, "ensure", lambda **_: Path(sys.executable))
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(module, "TYPES", ("types", GOOD))
    monkeypatch.setattr(module, "CHECKS", (("lint", GOOD),))
    monkeypatch.setattr(module, "UNIT", ("unit tests", GOOD))
    monkeypatch.setattr(module, "FUZZ", ("fuzz", GOOD))
    monkeypatch.setattr(module, "REAL", GOOD)
    monkeypatch.setattr(sys, "argv", ["test", "--quick"])
    return module


def test_all_pass(script: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert script.main() == 0
    lines = capfd.readouterr().err.splitlines()
    reports = [line for line in lines if " in " in line]
    assert [line.split(" in ")[0] for line in reports] == [
        *("lint: passed", "unit tests: passed", "fuzz: passed", "types: passed", "all: passed")
    ]


@pytest.mark.parametrize("name", ["TYPES", "UNIT", "FUZZ", "CHECKS", "REAL"])
def test_one_that_fails_fails_all(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    step = {"CHECKS": (("broken", BAD),), "REAL": BAD}.get(name, ("broken", BAD))
    monkeypatch.setattr(script, name, step)
    monkeypatch.setattr(sys, "argv", ["test", "--slow"])
    assert script.main() == 1
    said = capfd.readouterr().err
    assert said.count("FAILED") == 2  # the step, and all
    assert said.count("passed") == 4  # the others ran all the same
    failed = "engine and terminal tests" if name == "REAL" else "broken"
    assert said.splitlines()[-1].startswith(f"all ({failed}): FAILED")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_its_own_help(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["test", option])
    assert script.main() == 0
    assert "scripts/test --quick" in capsys.readouterr().out
