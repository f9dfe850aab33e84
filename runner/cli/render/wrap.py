"""Lines for people: broken between words, with commands as they can be typed here."""

import re
import shutil
import sys
import textwrap

import click

from runner.base.shell import COMMAND, as_typed

LEAST = 40  # a narrower terminal gets its lines broken anyhow
# A command at the end of a line: pasted in two pieces, it would be two commands.
_LAST = re.compile(rf"(?:env (?:-u )?\S+ |export \S+\$\()?{COMMAND.pattern}(?: \S*[^\s.,;:)])+$")
_BLANK = "\ue000"  # stands for a blank at which no line ends; nobody's text has it


def columns() -> int:
    """Return the terminal's width; what goes elsewhere has room for anything."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 1000
    return max(LEAST, shutil.get_terminal_size().columns)


def wrapped(text: str, indent: int, *, err: bool = False) -> str:
    """Return `text` fitted to the terminal, further lines indented by `indent` columns.

    What goes to a file or a pipe stays in one line, and so does what cannot be broken, a path or
    a command. `err`: it is meant for stderr.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is None or not stream.isatty():
        return as_typed(text)
    width = max(LEAST, shutil.get_terminal_size().columns - 1)
    return "\n".join(
        textwrap.fill(
            as_typed(_LAST.sub(lambda found: as_typed(found[0]).replace(" ", _BLANK), line)),
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        ).replace(_BLANK, " ")
        for line in text.split("\n")
    )


def say(text: str, indent: int = 0, *, err: bool = False) -> None:
    """Print what people read, fitted to the terminal; `indent` and `err` as in `wrapped`."""
    click.echo(wrapped(text, indent, err=err), err=err)
