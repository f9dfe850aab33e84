"""Ollama's `options` under the engine's names, from `options.toml`. Pure once loaded."""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from runner.gateway.refusal import Refusal

_TABLE: Final = Path(__file__).with_name("options.toml")
_MOST: Final = 1 << 53  # what JSON's numbers hold exactly


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One option. `options.toml` says what the fields mean."""

    name: str
    kind: Literal["integer", "number", "words"]
    least: int | None = None


@cache
def _options() -> dict[str, Option]:
    return msgspec.toml.decode(_TABLE.read_bytes(), type=dict[str, Option])


def engine_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine's fields for a request's options.

    Raises Refusal (400) for a value of another kind than the option's.
    """
    fields: dict[str, Any] = {}
    for key, option in _options().items():
        if (value := given.get(key)) is None:
            continue
        taken = _taken(key, option, value)
        if not (isinstance(taken, int | float) and _below(taken, option.least)):
            fields[option.name] = taken
    return fields


def _below(value: float, least: int | None) -> bool:
    return least is not None and value < least


def _taken(key: str, option: Option, value: object) -> Any:
    if option.kind == "words":
        words = [value] if isinstance(value, str) else value
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
        raise _refused(key, "a text or an array of texts")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(key, "a number")
    if not math.isfinite(value) or abs(value) > _MOST:
        raise _refused(key, "a number from -2^53 to 2^53")
    return int(value) if option.kind == "integer" else value  # some clients send 128.0


def _refused(key: str, wanted: str) -> Refusal:
    return Refusal(400, f"options.{key} must be {wanted}.", param=f"options.{key}")
