"""The service is installed, replaced, shown and removed, on each system."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.base.errors import Refused, SteprunError
from runner.service import manage
from runner.service.manage import Ran
from runner.service.registered import Argv, ServiceSystem, service_system

PLATFORMS = ("linux", "darwin", "win32")


@dataclass
class FakeSystem:
    """A fake: hears the commands that a system would run. `fails`: words of those that fail."""

    says: str = ""
    fails: tuple[str, ...] = ()
    heard: list[str] = field(default_factory=list)

    def __call__(self, argv: Argv) -> Ran:
        line = " ".join(argv)
        self.heard.append(line)
        failed = any(word in line for word in self.fails)
        return Ran(int(failed), "Failed to connect to bus" if failed else self.says)


def system(platform: str, home: Path) -> ServiceSystem:
    return service_system(platform, {}, home, 501, home / "state")


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_installed_is_removed_without_a_rest(platform: str, tmp_path: Path) -> None:
    here, runs = system(platform, tmp_path), FakeSystem()
    manage.install(here, b"one", runs)
    assert manage.installed(here) == b"one"
    for path in here.kept:  # as the system makes them
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    manage.uninstall(here, runs)
    assert files(tmp_path) == []
    assert manage.installed(here) is None


@pytest.mark.parametrize("platform", PLATFORMS)
def test_it_is_replaced_where_it_says_anything_else(platform: str, tmp_path: Path) -> None:
    here = system(platform, tmp_path)
    manage.install(here, b"one", FakeSystem())
    same, other = FakeSystem(), FakeSystem()
    manage.install(here, b"one", same)
    assert same.heard == [" ".join(here.start.argv)], "it may have been stopped"
    manage.install(here, b"two", other)
    steps = (*here.again, *here.begin)
    assert other.heard == [" ".join(step.argv) for step in steps]
    assert manage.installed(here) == b"two"


def test_systemd_reads_the_file_before_it_starts_it(tmp_path: Path) -> None:
    runs = FakeSystem()
    manage.install(system("linux", tmp_path), b"one", runs)
    assert runs.heard == [
        "systemctl --user daemon-reload",
        "systemctl --user enable steprun.service",
        "systemctl --user restart steprun.service",
    ]
    assert files(tmp_path) == [tmp_path / ".config/systemd/user/steprun.service"]
    if sys.platform != "win32":
        assert files(tmp_path)[0].stat().st_mode & 0o777 == 0o600


def test_a_file_elsewhere(tmp_path: Path) -> None:
    here = service_system("linux", {"XDG_CONFIG_HOME": "/x y"}, tmp_path, 1, tmp_path)
    assert here.path == Path("/x y/systemd/user/steprun.service")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_where_no_system_runs_it_is_said(platform: str, tmp_path: Path) -> None:
    here = system(platform, tmp_path)
    with pytest.raises(Refused, match="does not run here") as refused:
        manage.must_run(here, FakeSystem(fails=(here.asks[0],)))
    assert "Failed to connect to bus" in refused.value.why
    assert refused.value.next.endswith("steprun serve")
    manage.must_run(here, FakeSystem())


def test_a_program_that_is_not_installed(tmp_path: Path) -> None:
    assert manage.run((str(tmp_path / "systemctl"),)).status == 127
    assert manage.run((sys.executable, "-c", "print('x'); raise SystemExit(3)")).status == 3


def test_a_start_that_fails_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SteprunError, match="restart") as failed:
        manage.install(system("linux", tmp_path), b"one", FakeSystem(fails=("restart",)))
    assert "journalctl" in failed.value.next
    assert "--uninstall" in failed.value.next


def test_it_is_removed_where_no_system_runs_any_more(tmp_path: Path) -> None:
    here = system("linux", tmp_path)
    manage.install(here, b"one", FakeSystem())
    manage.uninstall(here, FakeSystem(fails=("systemctl",)))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("platform", "says", "state"),
    [
        (
            "linux",
            "ActiveState=active\nSubState=running\nStatusText=Tiny answers.\n",
            "active (running): Tiny answers.",
        ),
        (
            "linux",
            "ActiveState=inactive\nSubState=dead\nStatusText=Tiny answers.\n",
            "inactive (dead)",
        ),
        ("darwin", "gui/501/steprun.serve = {\n\tactive count = 1\n\tstate = running\n", "running"),
        ("win32", "Folder: \\\nTaskName:  \\steprun\nStatus:     Running\n", "Running"),
    ],
)
def test_its_state(platform: str, says: str, state: str, tmp_path: Path) -> None:
    here = system(platform, tmp_path)
    assert manage.state(here, FakeSystem(says)) == state
    assert manage.state(here, FakeSystem(fails=(here.shows[0],))).startswith("not running")
