"""What each system is told of the service: escaped so that the same command is started."""

import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from runner.base.errors import Refused
from runner.service import launchd, systemd, windows
from runner.service.description import (
    MemoryBounds,
    ServiceDescription,
    carried,
    check_writable,
    program,
)

# As it was given to `systemd --user` 252 in a unit of ours, and arrived as it is written here.
PATH = "/home/jörg b/50% $HOME/steprun"
ARGV = (PATH, "serve", "--model", r'/m/50% $HOME ${X} \n "x" ' + "'y' 日本;", "", ";", "a\\")
ENV = (("STEPRUN_HOME", r'/h/ä %h $HOME "q" \x41'),)
DESCRIPTION = ServiceDescription(ARGV, ENV, Path("/tmp/log"), user="PC\\jörg & co")  # noqa: S108
# launchd.plist(5), as far as they are used here.
LAUNCHD = {
    "Label": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "StandardOutPath": str,
    "StandardErrorPath": str,
    "Umask": int,
}
TASKS = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def section(unit: str, name: str) -> dict[str, list[str]]:
    """Return the settings of one section of a unit, by name."""
    text = unit.split(f"[{name}]\n")[1].split("\n[", maxsplit=1)[0]
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_systemd_starts_the_same_command() -> None:
    (line,) = section(systemd.unit(DESCRIPTION), "Service")["ExecStart"]
    assert line == (
        r'"/bin/sh" "-c" "exec \"$$0\" \"$$@\"" '
        '"/home/jörg b/50%% $$HOME/steprun" "serve" "--model" '
        r'"/m/50%% $$HOME $${X} \\n \"x\" ' + "'y' 日本;" + r'" "" ";" "a\\"'
    )
    # A shell's rules for double quotes are the same, but for these two.
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]
    assert words == ["/bin/sh", "-c", 'exec "$0" "$@"', *ARGV]


def test_systemd_sets_the_same_variables() -> None:
    (line,) = section(systemd.unit(DESCRIPTION), "Service")["Environment"]
    assert line == r'"STEPRUN_HOME=/h/ä %%h $HOME \"q\" \\x41"'


def test_a_program_with_a_usual_name_is_started_itself() -> None:
    unit = systemd.unit(ServiceDescription(("/opt/a b/steprun", "serve")))
    assert section(unit, "Service")["ExecStart"] == ['"/opt/a b/steprun" "serve"']


def test_the_unit_is_watched_started_again_and_first_to_go() -> None:
    settings = section(systemd.unit(DESCRIPTION), "Service")
    assert settings["Type"] == ["notify"]
    assert settings["WatchdogSec"] == ["60"]
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == ["2 3 4"]
    assert settings["KillMode"] == ["mixed"], "the engine is asked by steprun, after the prompts"
    assert settings["OOMPolicy"] == ["continue"]
    assert 0 < int(settings["OOMScoreAdjust"][0]) < 1000, "after the engine, before the desktop"
    assert "MemoryMax" not in settings


def test_the_memory_is_limited_where_it_is_asked_for() -> None:
    bounded = ServiceDescription(ARGV, memory=MemoryBounds(7, 9))
    settings = section(systemd.unit(bounded), "Service")
    assert (settings["MemoryHigh"], settings["MemoryMax"]) == (["7"], ["9"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    program_ = tmp_path / "50% \"a\" 'b'" / "steprun"
    program_.parent.mkdir()
    program_.write_text("#!/bin/sh\n", encoding="utf-8")
    program_.chmod(0o700)
    unit = tmp_path / systemd.NAME
    description = ServiceDescription((str(program_), *ARGV[1:]), ENV, memory=MemoryBounds(7, 9))
    unit.write_text(systemd.unit(description), encoding="utf-8")
    found = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    # Without a manager that runs, some versions cannot make the control group of the test.
    ours = [line for line in found.stdout.splitlines() if systemd.NAME in line]
    assert ours == []


def test_launchd_is_told_what_it_knows() -> None:
    document = plistlib.loads(launchd.property_list(DESCRIPTION))
    assert document.keys() == LAUNCHD.keys()
    assert all(isinstance(document[key], kind) for key, kind in LAUNCHD.items())
    assert document["ProgramArguments"] == list(ARGV)
    assert document["EnvironmentVariables"] == dict(ENV)
    assert document["KeepAlive"] == {"SuccessfulExit": False}


def test_windows_is_told_what_it_knows() -> None:
    description = ServiceDescription(
        (r"C:\Users\jörg & co\pythonw.exe", "-m", "runner", "--model", 'C:\\a b\\50% "<x>".gguf'),
        user="PC\\jörg & co",
    )
    data = windows.task(description)
    assert data[:2] in {b"\xff\xfe", b"\xfe\xff"}, "schtasks reads UTF-16 with its mark"
    task = ET.fromstring(data.decode("utf-16").split("?>", 1)[1])  # noqa: S314 - it is our own
    exec_ = task.find(f"{TASKS}Actions/{TASKS}Exec")
    assert exec_ is not None
    assert exec_.findtext(f"{TASKS}Command") == description.argv[0]
    assert exec_.findtext(f"{TASKS}Arguments") == (r'-m runner --model "C:\a b\50% \"<x>\".gguf"')
    assert task.findtext(f"{TASKS}Triggers/{TASKS}LogonTrigger/{TASKS}UserId") == description.user
    assert task.findtext(f"{TASKS}Settings/{TASKS}ExecutionTimeLimit") == "PT0S"
    # The order that the schema demands of these, where it has one.
    assert [each.tag.removeprefix(TASKS) for each in task] == [
        *("RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"),
    ]


@pytest.mark.parametrize("word", [r"C:\%USERNAME%\x", "$(Arg0)"])
def test_windows_would_replace_it(word: str) -> None:
    with pytest.raises(Refused, match="cannot be started"):
        windows.task(ServiceDescription(("python", word)))


@pytest.mark.parametrize("word", ["a\nExecStartPre=x", "\x00", "\udcff"])
def test_no_line_of_its_own_gets_into_a_file(word: str) -> None:
    with pytest.raises(Refused, match="cannot be started"):
        check_writable(ServiceDescription(("steprun", word)))
    with pytest.raises(Refused, match="cannot be started"):
        check_writable(ServiceDescription(("steprun",), (("HF_HOME", word),)))


def test_no_key_is_carried_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {"HF_TOKEN": "t", "OPENAI_API_KEY": "k", "STEPRUN_API_KEY": "s", "HTTPS_PROXY": "u:p@h"}
    found = carried({**keys, "STEPRUN_HOME": "here", "PATH": "/bin", "HF_HOME": ""})
    assert found == (("STEPRUN_HOME", str(tmp_path / "here")), ("PATH", "/bin"))
    names = Path(launchd.__file__).with_name("carried.toml").read_text("utf-8")
    assert not re.search(r'"[A-Z_]*(TOKEN|KEY|SECRET|PASS|PROXY)[A-Z_]*"', names)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a way of its own")
def test_this_very_program_is_started(tmp_path: Path) -> None:
    script = tmp_path / "steprun"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    script.chmod(0o700)
    assert program(str(script)) == (str(script),)
    assert program("/x/runner/__main__.py")[1:] == ("-P", "-m", "runner")
    assert program("/x/__main__.py", str(script)) == (str(script),)
