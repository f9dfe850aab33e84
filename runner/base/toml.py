"""Strict reading of shipped TOML: a typing error in the data must not become a wrong plan."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from runner.base.errors import BadFile

REINSTALL: Final = "Install steprun again; if you changed the file, correct the entry."

T = TypeVar("T")


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of which every key is known. Types are exact: TOML's `true` does not pass as a 1."""


def matching(pattern: str) -> msgspec.Meta:
    """Return the constraint that all of a text looks like `pattern`."""
    return msgspec.Meta(pattern=rf"^(?:{pattern})\Z")


def read_toml(path: Path, kind: type[T], what: str) -> T:
    """Read a file as a value of one type.

    Raises `BadFile` where anything in it is not as it should be. The error calls the file `what`
    and names the entry as `$.model[0].quant[3].bytes`.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise broken(path, what, str(error)) from error


def broken(path: Path, what: str, why: str) -> BadFile:
    """Return the error of shipped data that is not as it should be. `why` names the entry."""
    return BadFile(
        f"{what} {path} is damaged or was changed.", why=f"{why.rstrip('.')}.", next=REINSTALL
    )


def check_pattern(pattern: str) -> None:
    """Raise ValueError where a text is not a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


def check_distinct(what: str, values: Sequence[object]) -> None:
    """Raise ValueError where a value occurs twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"The {what} {value} occurs twice")
