"""Questions to the user, which only a terminal can answer."""

import sys

import click

from runner.base.errors import Refused


def can_ask() -> bool:
    """Tell whether there is somebody to ask."""
    return bool(sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty())


def must_agree(question: str, unchanged: str, command: str, *, default: bool = False) -> None:
    """Ask. Raises `Refused`, which says what is `unchanged`, where the answer is no.

    `command`: what does it unasked, for those who have no terminal.
    """
    if not can_ask():
        raise Refused(unchanged, why="There is no terminal to ask on.", next=command)
    if not click.confirm(question, default=default, err=True):
        raise Refused(unchanged, why="You said no.", next=f"To do it after all: {command}")
