"""What several commands show: a JSON document, and a line that is replaced while they work."""

import json
import os
import shutil
import sys
from typing import Any, Self

import click


def emit_json(document: dict[str, Any]) -> None:
    """Print one document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


_only_prints: list[bool] = []


def only_print() -> None:
    """Take every terminal for one that only prints, as the user has asked for."""
    _only_prints.append(True)


def is_dumb() -> bool:
    """Return whether the terminal only prints: it cannot move its cursor or change colours."""
    return bool(_only_prints) or os.environ.get("TERM") == "dumb"


class TransientLine:
    """One line on stderr that is overwritten; nothing where stderr is not a terminal.

    A context manager: leaving it removes the line.
    """

    def __init__(self) -> None:
        self._on = sys.stderr is not None and sys.stderr.isatty() and not is_dumb()
        self._shown = False

    def __enter__(self) -> Self:
        """Begin without a line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the line."""
        self.clear()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._on:
            # A line that is broken into two could not be replaced.
            width = max(1, shutil.get_terminal_size().columns - 1)
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
