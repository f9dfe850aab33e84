"""`serve --install`, `--uninstall` and `--status`, as they are typed."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from runner.base.errors import Refused, UsageError
from runner.cli.main import steprun
from runner.service import manage
from runner.service.registered import service_system
from tests.unit.service.test_manage import FakeSystem


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSystem:
    """Have a systemd that only listens, and a plan that fits."""
    runs = FakeSystem("ActiveState=active\nSubState=running\nStatusText=Tiny answers.\n")
    here = service_system("linux", {}, tmp_path / "home", 1, tmp_path / "state")
    monkeypatch.setattr(manage, "system_here", lambda: here)
    for name in ("must_run", "install", "uninstall", "state"):
        kept = getattr(manage, name)
        monkeypatch.setattr(manage, name, lambda *each, kept=kept: kept(*each, runs))
    monkeypatch.setattr("runner.run.prepare.make_plan", lambda *_, **__: SimpleNamespace())
    monkeypatch.setattr("runner.cli.terminal.must_fit", lambda _: None)
    monkeypatch.setattr("runner.cli.terminal.make_ready", lambda _: None)
    monkeypatch.setattr("runner.net.listening.check_listen", lambda *_: None)
    return runs


def typed(*words: str) -> Result:
    return CliRunner().invoke(steprun, ["serve", *words], standalone_mode=False)


def unit(tmp_path: Path) -> str:
    return (tmp_path / "home/.config/systemd/user/steprun.service").read_text("utf-8")


def test_the_options_are_the_services(
    runs: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my model.gguf").touch()
    Path("keys").write_text("agent sk-secret-0123456789abcdef\n", encoding="utf-8")
    Path("keys").chmod(0o600)
    monkeypatch.setenv("HF_TOKEN", "hf-secret")
    done = typed(
        *("--install", "--yes", "--model", "my model.gguf", "--port", "9000"),
        *("--host", "0.0.0.0", "--api-key-file", "keys", "--allow-host", "a.example"),  # noqa: S104
        *("--allow-host", "b.example", "--keep-headers"),
    )
    assert done.exception is None, done.output
    (line,) = [each for each in unit(tmp_path).splitlines() if each.startswith("ExecStart=")]
    assert line.endswith(
        f'"serve" "--model" "{tmp_path}/my model.gguf" "--port" "9000" "--host" "0.0.0.0" '
        f'"--api-key-file" "{tmp_path}/keys" "--allow-host" "a.example" '
        '"--allow-host" "b.example" "--keep-headers"'
    )
    assert "secret" not in unit(tmp_path)
    assert "TimeoutStopSec=90\n" in unit(tmp_path)
    assert runs.heard[-2] == "systemctl --user restart steprun.service"


def test_all_that_is_written_and_run_is_said_before(
    runs: FakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.cli.confirm.can_ask", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    done = typed("--install", "--demo", "pictures")
    assert isinstance(done.exception, Refused)
    assert not (tmp_path / "home").exists()
    assert runs.heard == ["systemctl --user show --property=Version"], "nothing was changed"
    for word in (
        str(tmp_path / "home/.config/systemd/user/steprun.service"),
        "Type=notify",
        "systemctl --user enable steprun.service",
    ):
        assert word in done.stderr
    assert "serve --demo pictures --install --yes" in done.exception.next


def test_without_a_terminal_nothing_is_done(runs: FakeSystem, tmp_path: Path) -> None:
    done = typed("--install")
    assert isinstance(done.exception, Refused)
    assert not (tmp_path / "home").exists()


def test_what_would_be_written_is_printed(runs: FakeSystem, tmp_path: Path) -> None:
    done = typed("--install", "--dry-run", "--demo")
    assert "[Service]\nType=notify\n" in done.stdout
    assert '"serve" "--demo"\n' in done.stdout
    assert runs.heard == []
    assert not (tmp_path / "home").exists()


def test_no_service_is_advised_where_none_can_be(
    runs: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "steprun serve --install" in typed("--status").output
    monkeypatch.setattr(runs, "fails", ("systemctl",))
    for word in ("--status", "--uninstall"):
        told = typed(word).output
        assert "--install" not in told
        assert "in a terminal instead: steprun serve" in " ".join(told.split())


def test_it_is_shown_and_removed(runs: FakeSystem, tmp_path: Path) -> None:
    assert typed("--status").output.startswith("No service is installed.")
    assert typed("--install", "--yes").exception is None
    shown = typed("--status")
    assert "state    active (running): Tiny answers.\n" in shown.stdout
    assert isinstance(typed("--uninstall").exception, Refused), "nobody could be asked"
    wants = tmp_path / "home/.config/systemd/user/default.target.wants/steprun.service"
    wants.parent.mkdir()
    wants.symlink_to("../steprun.service")
    removed = typed("--uninstall", "--yes")
    assert removed.return_value == 0
    assert str(wants) in "".join(removed.stderr.split()), "all that is removed is said"
    assert [each for each in (tmp_path / "home").rglob("*") if not each.is_dir()] == []
    assert os.listdir(tmp_path / "home")  # noqa: PTH208 - folders stay


@pytest.mark.parametrize("option", ["--yes", "--limit-memory"])
def test_what_is_for_a_service_only_is_not_ignored(option: str) -> None:
    done = typed(option)
    assert isinstance(done.exception, UsageError)
    assert done.exception.what == f"{option} needs --install."


def test_an_option_of_the_same_name_is_not_taken_for_another(
    runs: FakeSystem, tmp_path: Path
) -> None:
    assert typed("--install", "--yes", "--idle-unload", "1.5h", "--on-demand").exception is None
    (line,) = [each for each in unit(tmp_path).splitlines() if each.startswith("ExecStart=")]
    words = line.partition('"serve" ')[2]
    assert sorted(words.split()) == ['"--idle-unload"', '"--on-demand"', '"5400s"']
