"""Printed commands run when they are pasted, whatever their paths look like."""

import os
import subprocess
import sys

import pytest

from runner.base.shell import quoted, shell_line

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
