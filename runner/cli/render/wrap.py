"""Long lines for a terminal: broken between words, the rest indented."""

import shutil
import sys
import textwrap

LEAST = 40  # a narrower terminal gets its lines broken anyhow


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
        return text
    width = max(LEAST, shutil.get_terminal_size().columns - 1)
    return "\n".join(
        textwrap.fill(
            line,
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )
