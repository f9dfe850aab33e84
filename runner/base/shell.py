"""Commands as one pastes them into a shell: how a word is quoted, and how steprun is called."""

import functools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

# The commands of steprun, as `runner.cli.main` has them: in a sentence, `steprun chat` is a command
# and `steprun sends nothing` is not.
COMMANDS: Final = (
    "chat", "serve", "ps", "stop", "climb", "logs", "kv", "key", "plan", "machine", "models",
    "engine", "bench", "doctor", "completion"
)  # fmt: skip
COMMAND: Final = re.compile(
    rf"(?<![^\s`('\"])(?<!nother )steprun(?= (?:--?[a-z]|(?:{'|'.join(COMMANDS)})\b))"
)

# What PowerShell, which Windows opens as its terminal, takes without quotes.
_PLAIN = re.compile(r"[\w./\\:+=~-]+", re.ASCII)


def quoted(word: str, system: str = os.name) -> str:
    """Return one word of a command; `system` is Python's `os.name`."""
    if system != "nt":
        return shlex.quote(word)
    # Within single quotes PowerShell replaces nothing, and two of them are one.
    return word if _PLAIN.fullmatch(word) else "'" + word.replace("'", "''") + "'"


def shell_line(
    argv: Sequence[str], env: Iterable[tuple[str, str]] = (), system: str = os.name
) -> str:
    """Return a command, with the variables it is run with, as one types it in a shell."""
    words = [quoted(word, system) for word in argv]
    if system != "nt":
        return " ".join([*(f"{name}={quoted(value, system)}" for name, value in env), *words])
    # A quoted program is a text to PowerShell unless & calls it.
    call = ["&"] if words and words[0].startswith("'") else []
    variables = [f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}';" for name, value in env]
    return " ".join([*variables, *call, *words])


def set_from(variable: str, line: str, system: str = os.name) -> str:
    """Return the command that sets a variable to what a command prints, as one types it."""
    return f"$env:{variable} = {line}" if system == "nt" else f'export {variable}="$({line})"'


def as_typed(text: str) -> str:
    """Return a text for people whose commands begin with what starts steprun in their shell."""
    return COMMAND.sub(lambda _: _program(), text) if "steprun " in text else text


@functools.cache
def _program() -> str:
    # scripts/steprun hands on what was typed; an installed program has it as argv[0].
    script = str(sys._xoptions.get("steprun", ""))  # noqa: SLF001 - Python's documented place for it
    return program(script or sys.argv[0], is_script=bool(script))


def program(called: str, *, is_script: bool, system: str = os.name) -> str:
    """Return what starts steprun in a shell: its name where that finds it, else its path.

    `called`: argv[0] of this process. `is_script`: it is `scripts/steprun` of a checkout. `system`
    is Python's `os.name`.
    """
    path = Path(called)
    if not is_script and path.stem != "steprun":
        return "steprun"  # `python -m runner` is for those who develop it
    found = shutil.which(path.stem)
    if found and _same(Path(found), path):
        return quoted(path.stem, system)
    if path.name == called:  # without a folder the shell would search its PATH
        called = os.path.join(os.curdir, called)  # noqa: PTH118 - pathlib drops the dot
    if is_script and system == "nt":
        return f"python {quoted(called, system)}"
    if is_script and not os.access(path, os.X_OK):
        return f"python3 {quoted(called, system)}"
    return shell_line([called], system=system)


def _same(one: Path, other: Path) -> bool:
    # On Windows argv[0] may lack the .exe.
    try:
        return one.resolve().with_suffix("") == other.resolve().with_suffix("")
    except (OSError, RuntimeError):  # links in a circle
        return False
