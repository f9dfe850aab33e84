"""The command line: exit codes, stdout and stderr, one error boundary; start-up stays light."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runner.base import shell
from runner.base.errors import Refused, SteprunError
from runner.cli.commands.completion import completion
from runner.cli.main import COMMANDS, print_error
from runner.cli.main import steprun as steprun_group

ROOT = Path(__file__).parents[3]


def steprun(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_of_every_command(name: str) -> None:
    ran = steprun(*name.split(), "--help")
    assert ran.returncode == 0
    assert "Usage:" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["chta"], "Did you mean chat?"),
        (["serve", "--port", "0"], "--port"),
        (["chat", "--effort", "huge"], "--effort"),
        (["plan", "--ctx", "x"], "--ctx"),
        (["plan", "--model", "step-3.7-flsh"], "step-3.7-flash"),
        (["plan", "--quant", "Q9"], "Q9"),
        (["chat", "--demo", "-p", ""], "prompt is empty"),
        (["chat", "--demo", "--engine", "x", "-p", "y"], "no engine"),
        (["chat", "--url", "http://[bad", "-p", "y"], "not the address"),
        (["chat", "--url", "http://127.0.0.1:99999", "-p", "y"], "not the address"),
        (["chat", "--url", "", "-p", "y"], "not the address"),
        (["serve", "--demo", "--host", ""], "listen on is empty"),
        (["chat", "--url", "file:///etc/passwd", "-p", "y"], "not the address"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_right(arguments: list[str], word: str) -> None:
    ran = steprun(*arguments)
    assert ran.returncode == 2, ran.stderr
    assert word in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("name", "code", "verdict"), [("m4-max-128", 0, "fits"), ("cpu-24", 3, "refused")]
)
def test_plan_for_another_machine(name: str, code: int, verdict: str) -> None:
    ran = steprun("plan", "--json", "--machine", name)
    assert ran.returncode == code, ran.stderr
    document = json.loads(ran.stdout)
    assert document["verdict"] == verdict
    assert bool(document["argv"]) == (code == 0)
    assert document["fixes"]
    assert all(fix["what"] and fix["command"] for fix in document["fixes"])
    assert document["total_bytes"] == sum(item["bytes"] for item in document["ledger"])
    assert (document["total_bytes"] <= document["limit_bytes"]) == (code == 0)


def test_a_capture_made_here_plans_as_here(tmp_path: Path) -> None:
    made = tmp_path / "capture.json"
    assert steprun("machine", "--capture", str(made)).returncode == 0
    here = json.loads(steprun("plan", "--json").stdout)
    there = json.loads(steprun("plan", "--json", "--machine", str(made)).stdout)
    assert here["machine"] == there["machine"]
    assert here["verdict"] == there["verdict"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "steprun.capture/9"}'])
def test_a_bad_capture_is_4(tmp_path: Path, text: str) -> None:
    path = tmp_path / "capture.json"
    path.write_text(text)
    ran = steprun("plan", "--machine", str(path))
    assert ran.returncode == 4, ran.stderr
    assert "Traceback" not in ran.stderr


def test_machine_models_and_doctor_speak_json() -> None:
    for name in ("machine", "models", "doctor"):
        document = json.loads(steprun(name, "--json").stdout)
        assert document["schema"] == f"steprun.{name}/1"
    models = json.loads(steprun("models", "--json").stdout)["models"]
    step = next(model for model in models if model["name"] == "step-3.7-flash")
    quant = next(quant for quant in step["quants"] if quant["name"] == "IQ4_XS")
    assert quant["total_bytes"] == sum(f["bytes"] for f in quant["files"] if f["role"] == "weights")
    assert quant["total_bytes"] == 104_993_562_624
    assert quant["on_disk"] is False
    assert {f["role"] for f in quant["files"]} == {"weights", "projector", "mtp"}
    assert all(len(f["sha256"]) == 64 for f in quant["files"])


def test_serve_dry_run_prints_a_launch_line_and_starts_nothing(home: Path) -> None:
    ran = steprun("serve", "--demo", "--dry-run", "--port", "8123")
    assert ran.returncode == 0, ran.stderr
    words = ran.stdout.split()
    assert words[:4] == [sys.executable, "-P", "-m", "runner.engine.process.embedded"]
    assert words[words.index("--port") + 1] == "8123"
    assert not home.exists()
    assert ran.stderr == ""


def test_the_launch_line_of_the_engine_alone_is_for_this_machine_only(
    home: Path, tmp_path: Path
) -> None:
    """The engine cannot read names in a key file: it would take `laptop KEY` for the key."""
    keys = tmp_path / "keys"
    keys.write_text("laptop 0123456789abcdef-key\n")
    keys.chmod(0o600)
    for more in (("--host", "192.0.2.7"), ("--api-key-file", str(keys))):
        ran = steprun("serve", "--demo", "--dry-run", *more)
        assert ran.returncode == 0, ran.stderr
        words = ran.stdout.split()
        assert words[words.index("--host") + 1] == "127.0.0.1"
        assert "--api-key-file" not in words
        assert "without the gateway" in ran.stderr
        assert not home.exists()


def test_output_may_be_cut_short() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-m", "runner", "models"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_stray_package_in_the_current_folder_is_not_run(tmp_path: Path) -> None:
    """`steprun doctor` loads the engine's native code in a child: ours, not this one."""
    (tmp_path / "xllamacpp.py").write_text("raise SystemExit('stray code was run')")
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "runner", "doctor"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "stray code was run" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["NO_COLOR"])
def test_no_color_means_none_even_when_forced(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "runner", "plan"],
        env={**os.environ, name: "1", "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "\x1b[" not in ran.stdout + ran.stderr


def test_what_a_server_said_is_not_obeyed_by_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error(SteprunError("a\x1b]0;title\x07b", why="c\x9bd"))
    assert capsys.readouterr().err.splitlines()[:2] == ["error: a]0;titleb", "  why:  cd"]


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", "data/bash-completion/completions/steprun"),
        ("zsh", "home/.zfunc/_steprun"),
        ("fish", "config/fish/completions/steprun.fish"),
    ],
)
def test_completion_is_printed_or_installed(
    shell: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    printed = CliRunner().invoke(completion, [shell]).stdout
    assert "_STEPRUN_COMPLETE" in printed
    assert not (tmp_path / place).exists()
    installed = CliRunner().invoke(completion, [shell, "--install"])
    assert installed.stdout == ""
    assert f"Writing {tmp_path / place}" in installed.stderr
    assert (tmp_path / place).read_text("utf-8") == printed


@pytest.mark.parametrize(
    ("words", "wanted"), [("steprun mo", {"models"}), ("steprun models re", {"repair"})]
)
def test_commands_are_completed(words: str, wanted: set[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "runner"],
        env={
            **os.environ,
            "_STEPRUN_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert {line.partition(",")[2] for line in ran.stdout.splitlines()} == wanted, ran.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "completion"])
def test_help_ends_in_examples_that_name_the_command(name: str) -> None:
    command = steprun_group.get_command(click.Context(steprun_group), name)
    assert command is not None
    head, *lines = (command.epilog or "").removeprefix("\b\n").splitlines()
    assert head == "Examples:"
    assert len(lines) >= 2
    assert all(f"steprun {name}" in line for line in lines)


HEAVY = ("textual", "httpx2", "xllamacpp", "huggingface_hub", "numpy", "PIL", "psutil", "rich")


def loaded(*arguments: str) -> set[str]:
    """Return which heavy modules a command imports, told by the interpreter itself."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "runner", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in ran.stderr.splitlines()}
    return names & set(HEAVY)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plan"], ["machine"], ["chat", "--help"], ["serve", "--help"]]
)
def test_light_commands_stay_light(arguments: list[str]) -> None:
    assert loaded(*arguments) == set()


def test_the_reference_page_is_current() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_docs"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_a_completion_script_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    result = CliRunner().invoke(completion, ["bash", "--install"])
    assert isinstance(result.exception, Refused)
    assert "bash-completion" in result.exception.what
    assert result.exception.next.endswith("steprun completion bash")


def test_help_and_errors_name_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell, "_program", lambda: "./scripts/steprun")
    shown = CliRunner().invoke(steprun_group, ["models", "pull", "--help"]).output
    assert "Usage: ./scripts/steprun models pull" in shown
    assert "\n    ./scripts/steprun models pull IQ4_XS\n" in shown
    print_error(SteprunError("No.", why="See steprun plan.", next="steprun doctor"))
    assert capsys.readouterr().err == (
        "error: No.\n  why:  See ./scripts/steprun plan.\n  next: ./scripts/steprun doctor\n"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change")
def test_a_home_that_may_not_be_entered(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    # The other user may not enter the checkout's environment either: it is loaded before.
    script = (
        "import os; from runner.cli.main import _from_os\n"
        "os.setuid(4242)\n"
        f"try: os.stat({str(tmp_path / 'home' / 'x')!r})\n"
        "except OSError as error: print(_from_os(error).next)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "STEPRUN_HOME=DIR" in ran.stdout
