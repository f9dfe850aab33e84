"""Questions to the user, which only a terminal can answer."""

import sys

import click

from runner.base.errors import Refused


def can_ask() -> bool:
    """Return whether a user can be asked."""
    return bool(sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty())


def must_agree(question: str, unchanged: str, command: str, *, default: bool = False) -> None:
    """Ask for consent. Raises `Refused`, which says what is `unchanged`, where it is refused.

    `command`: what does it without a question, for those who have no terminal.
    """
    if not can_ask():
        raise Refused(unchanged, why="There is no terminal on which to ask.", next=command)
    if not click.confirm(question, default=default, err=True):
        raise Refused(unchanged, why="Cancelled.", next=command)
