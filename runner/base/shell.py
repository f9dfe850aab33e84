"""Commands as one pastes them into a shell: the one place that knows how a word is quoted. Pure."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence

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
