"""Printed commands run when they are pasted, whatever their paths look like."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runner.base import shell
from runner.base.shell import as_typed, program, quoted, shell_line
from runner.cli import main

WORDS = ["plain", "My Engine Home/x", "it's", 'a "b"', "$HOME `id`", "a;b&c|d", "*", "", "é\u202f1"]


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize("word", WORDS)
def test_a_shell_reads_what_was_meant(word):
    script = "import os, sys; print([os.environ['X Y'[0]], sys.argv[1]])"
    line = shell_line([sys.executable, "-c", script, word], [("X", word)])
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.strip() == str([word, word])


def test_powershell():
    program = r"C:\Program Files\llama\llama-server.exe"
    line = shell_line([program, "--model", r"D:\my $x's.gguf"], [("A", "0,1")], system="nt")
    assert line == f"$env:A = '0,1'; & '{program}' --model 'D:\\my $x''s.gguf'"
    assert shell_line(["steprun", "plan", r"C:\x.gguf"], system="nt") == r"steprun plan C:\x.gguf"
    assert quoted("0,1", "nt") == "'0,1'"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a script in a folder with a blank, and stand beside it; no `steprun` is on the PATH."""
    script = tmp_path / "my code" / "scripts" / "steprun"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(script.parent)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return script


@pytest.mark.skipif(os.name != "posix", reason="modes and names of POSIX")
def test_a_command_begins_with_what_was_typed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program(str(checkout), is_script=True) == shlex.quote(str(checkout))
    assert program("../scripts/steprun", is_script=True) == "../scripts/steprun"
    assert program("steprun", is_script=True) == "./steprun"  # `python3 steprun`
    assert program("/opt/v/bin/steprun", is_script=False) == "/opt/v/bin/steprun"
    assert program("/opt/v/runner/__main__.py", is_script=False) == "steprun"
    link = checkout.with_name("sr")
    link.symlink_to(checkout)
    assert program(str(link), is_script=True) == shlex.quote(str(link))
    checkout.chmod(0o644)
    assert program("../scripts/steprun", is_script=True) == "python3 ../scripts/steprun"
    checkout.chmod(0o755)
    monkeypatch.setenv("PATH", str(checkout.parent))
    assert program(str(checkout), is_script=True) == "steprun"
    assert program(str(link), is_script=True) == "sr"
    assert program("/other/steprun", is_script=False) == "/other/steprun"  # not the one on the PATH


def test_a_script_is_no_program_under_windows(checkout: Path) -> None:
    typed = str(Path("scripts", "steprun"))
    assert program(typed, is_script=True, system="nt") == f"python {typed}"


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("steprun chat --demo", "./s chat --demo"),
        ("Or: `steprun plan`, then (steprun --help)", "Or: `./s plan`, then (./s --help)"),
        ("env -u A steprun models pull", "env -u A ./s models pull"),
        ("steprun sends nothing; this steprun ships with it", None),
        ("Another steprun engine is already running", None),
        ("/home/me/steprun chat", None),
        ("steprun plans", None),
    ],
)
def test_only_commands_are_rewritten(
    monkeypatch: pytest.MonkeyPatch, text: str, typed: str | None
) -> None:
    monkeypatch.setattr(shell, "_program", lambda: "./s")
    assert as_typed(text) == (typed or text)


def test_all_commands_are_known() -> None:
    assert set(shell.COMMANDS) == set(main.COMMANDS)
