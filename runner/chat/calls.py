"""Calls of tools in words: what a model wanted to run, although this chat offers nothing. Pure."""

from collections.abc import Sequence
from typing import Final

from runner.base.text import clean_name

_CALLS: Final = 3  # named; more are counted
_NAME: Final = 80  # characters
_ARGUMENTS: Final = 200


def calls_text(calls: Sequence[tuple[str, str]]) -> str:
    """Return calls in one line: `get_weather({"city": "Paris"})`. Pairs of name and arguments.

    Neither is trusted: both are cleaned, and cut in the middle where they are long.
    """
    named = [_call(*call) for call in calls[:_CALLS]]
    if len(calls) > _CALLS:
        named.append(f"{len(calls) - _CALLS:,} more")
    *others, last = named or [""]
    return f"{', '.join(others)} and {last}" if others else last


def _call(name: str, arguments: str) -> str:
    named = clean_name(name, _NAME) if name.strip() else "a tool"
    given = clean_name(arguments, _ARGUMENTS) if arguments.strip() else ""
    return f"{named}({given})"
