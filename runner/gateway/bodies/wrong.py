"""What is wrong with a body, in words that name the field."""

import re
from typing import Any, Final

import msgspec

from runner.gateway.refusal import Refusal

_PLACE: Final = re.compile(r" - at `(?:\$\.?)?([^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_EXPECTED: Final = re.compile(r"Expected `([^`]*)`(?:, got `([^`]*)`)?(.*)")
# JSON's names for msgspec's types.
_WORDS: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_LENGTH: Final = re.compile(r" of length >= 1")


def check(document: dict[str, Any], shape: type[msgspec.Struct]) -> None:
    """Raise Refusal (400) where a body does not have a shape."""
    try:
        msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        raise in_words(str(error)) from error


def in_words(error: str) -> Refusal:
    """Return what msgspec says of a body as a refusal."""
    place = found.group(1) if (found := _PLACE.search(error)) else ""
    problem = _PLACE.sub("", error)
    if missing := _MISSING.fullmatch(problem):
        place = f"{place}.{missing.group(1)}" if place else missing.group(1)
        return Refusal(400, f"The field {place!r} is missing.", param=place)
    if expected := _EXPECTED.fullmatch(problem):
        wanted, got, rest = expected.groups()
        if _LENGTH.fullmatch(rest):
            return Refusal(400, f"The field {place!r} is empty.", param=place)
        kinds = [_WORDS.get(kind, kind) for kind in wanted.split(" | ") if kind != "null"]
        problem = f"The field {place!r} must be {' or '.join(kinds)}{rest}"
        problem += f", not {_WORDS.get(got, got)}." if got else "."
        return Refusal(400, problem, param=place)
    return Refusal(400, f"{place}: {problem}" if place else problem, param=place)
