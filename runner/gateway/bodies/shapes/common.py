"""What the shapes of several APIs share."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec

Filled = Annotated[str, msgspec.Meta(min_length=1)]
Number = float | None  # as the engine: it takes 3.0 where 3 is meant
Flag = bool | None


class SamplerFields(msgspec.Struct):
    """The fields that every API hands to the engine's sampler, by the names of llama.cpp."""

    stream: Flag = None
    temperature: Number = None
    top_p: Number = None
    top_k: Number = None
    min_p: Number = None
    seed: Number = None
    max_tokens: Number = None
    n_predict: Number = None
    chat_template_kwargs: dict[str, Any] | None = None


def kind_of(found: str, known: Collection[str]) -> None:
    """Raise ValueError for a type that is not known, and say which are."""
    if found not in known:
        raise ValueError(f"The type {found[:40]!r} is not supported; use {_either(known)}.")


def needs(found: msgspec.Struct, fields: Mapping[str, tuple[str, ...]], kind: str) -> None:
    """Raise ValueError where a field lacks that the type of an object asks for."""
    for name in fields.get(kind, ()):
        if getattr(found, name) is None:
            raise ValueError(f"The field {name!r} is missing; the type {kind!r} needs it.")


def role_of(found: str, known: Collection[str]) -> None:
    """Raise ValueError for a role that a chat template would leave out without a word."""
    if found not in known:
        raise ValueError(f"The role {found[:40]!r} is not supported; use {_either(known)}.")


def _either(names: Collection[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
