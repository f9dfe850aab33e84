"""Values that a server sent or a file holds, made safe. Pure."""

from collections.abc import Mapping
from typing import Any


def mapping(value: object) -> Mapping[str, Any]:
    """Return an untrusted value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: object) -> float:
    """Return an untrusted value if it is a number from 0 to 2^53, else 0."""
    return value if isinstance(value, int | float) and 0 <= value < 1 << 53 else 0


def integer(value: object) -> int:
    """Return `number`, rounded down."""
    return int(number(value))
