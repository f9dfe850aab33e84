"""How the chat is measured: what counts as painted, and how a terminal answers."""

import os
import sys
from pathlib import Path

from chat_rates.programs import steprun
from chat_rates.terminal import ANSWER, ASKED, Terminal


def test_a_window_counts_as_painted_though_the_cursor_stands_on_its_first_letter() -> None:
    painted = steprun(Path(), 1, Path()).painted
    assert painted in "\x1b[7mM\x1b[0m\x1b[38;2;141;141;141m" + "essage the model."
    assert painted in "Message the model."


def test_what_is_started_keeps_its_bytecode_as_what_is_installed_does() -> None:
    env = steprun(Path(), 1, Path("home")).env
    assert env["PYTHONDONTWRITEBYTECODE"] == ""
    assert env["PYTHONPYCACHEPREFIX"] == "home/bytecode"


def test_the_terminal_says_what_it_is_so_that_no_program_waits_for_it(tmp_path) -> None:
    code = (
        "import os, tty; tty.setcbreak(0); "
        f"os.write(1, {ASKED!r}); print('answered', os.read(0, 64) == {ANSWER!r})"
    )
    terminal = Terminal([sys.executable, "-c", code], os.environ, tmp_path)
    try:
        assert terminal.seen("answered True") is not None
    finally:
        terminal.close()
