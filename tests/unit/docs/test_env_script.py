"""`scripts/_env.py`: a checkout that is another user's, or on a read-only disk."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.docs.texts import ROOT


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Load the script with an environment in a folder with a blank in its name."""
    monkeypatch.setenv("STEPRUN_VENV", str(tmp_path / "my env"))
    spec = importlib.util.spec_from_file_location("env_script", ROOT / "scripts" / "_env.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return module


def make(env: ModuleType, *, python: bool, stamp: str) -> Path:
    """Make an environment by hand; return the folder of its packages."""
    packages: Path = env.VENV / f"lib/python3.{sys.version_info[1]}/site-packages"
    packages.mkdir(parents=True)
    (env.VENV / "steprun-stamp").write_text(stamp)
    if python:
        env._python().parent.mkdir()
        env._python().symlink_to(sys.executable)
    return packages


def test_the_folder_is_the_one_that_is_named(env: ModuleType) -> None:
    make(env, python=True, stamp=env._key(dev=False))
    assert env.ensure(dev=False) == env.VENV / "bin" / "python"
    assert not env.borrow()


@pytest.mark.skipif(os.name != "posix", reason="there the folders are others")
def test_packages_are_used_where_their_python_cannot_be_started(env: ModuleType) -> None:
    packages = make(env, python=False, stamp=env._key(dev=False))
    assert env.borrow()
    assert sys.path[:2] == [str(ROOT), str(packages)]
    assert os.environ["PYTHONPATH"] == f"{ROOT}{os.pathsep}{packages}"


def test_packages_of_another_version_are_not_used(env: ModuleType) -> None:
    make(env, python=False, stamp="older")
    assert not env.borrow()


@pytest.mark.parametrize("dev", [True, False])
def test_a_folder_that_cannot_be_written_is_named(env: ModuleType, *, dev: bool) -> None:
    env.VENV.parent.rmdir()
    env.VENV.parent.write_text("no folder")
    with pytest.raises(SystemExit) as caught:
        env.ensure(dev=dev)
    said = str(caught.value)
    assert f"{env.VENV} cannot be written" in said
    assert "export STEPRUN_VENV=" in said.splitlines()[-1]


@pytest.mark.skipif(os.name != "posix", reason="links need a right under Windows")
def test_an_environment_is_never_made_through_a_link(env: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "another's").mkdir()
    kept = tmp_path / "another's" / "kept"
    kept.write_text("")
    env.VENV.symlink_to(kept.parent)
    with pytest.raises(SystemExit, match="is a link"):
        env.ensure(dev=False)
    assert kept.exists()


@pytest.mark.skipif(os.name != "posix", reason="there it is a child process")
def test_a_script_goes_on_in_the_environment_where_a_package_is_missing(
    env: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(env, python=True, stamp=env._key(dev=False))
    called: list[list[str]] = []

    def replaced(_: str, argv: list[str]) -> None:
        called.append(argv)
        sys.exit(0)

    monkeypatch.setattr(os, "execv", replaced)
    monkeypatch.setattr(sys, "argv", ["scripts/make_testbed", "tiny"])
    env.enter("pathlib")
    assert called == []
    with pytest.raises(SystemExit):
        env.enter("no_such_package")
    assert called == [[str(env.VENV / "bin" / "python"), "scripts/make_testbed", "tiny"]]
