"""Which fields of a body are not honoured: named in the answer, or refused. The list is data."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from runner.gateway.refusal import Refusal

_TABLE: Final = Path(__file__).with_name("fields.toml")
_ABSENT: Final = object()


class RefusedField(msgspec.Struct, frozen=True):
    """A field that is refused. `values` of it ask for nothing; `says`: what to do instead."""

    values: tuple[Any, ...]
    says: str


class UnmetFields(msgspec.Struct, frozen=True):
    """The fields of one API that are not honoured. `ignored`: with values that ask for nothing."""

    ignored: dict[str, tuple[Any, ...]] = {}
    refused: dict[str, RefusedField] = {}


@cache
def unmet_fields() -> dict[str, UnmetFields]:
    """Return the fields that are not honoured, by the reader of the body."""
    return msgspec.toml.decode(_TABLE.read_bytes(), type=dict[str, UnmetFields])


def ignored(body: str, document: dict[str, Any]) -> list[str]:
    """Return the fields of a body that have no effect. Raises Refusal (400) where that matters."""
    unmet = unmet_fields().get(body, UnmetFields())
    for field, refused in unmet.refused.items():
        if _asks(document, field, refused.values):
            raise Refusal(400, f"The field {field!r} is not supported. {refused.says}", param=field)
    return [field for field, values in unmet.ignored.items() if _asks(document, field, values)]


def _asks(document: dict[str, Any], field: str, values: tuple[Any, ...]) -> bool:
    found: Any = document
    for name in field.split("."):
        found = found.get(name, _ABSENT) if isinstance(found, dict) else _ABSENT
    return found is not _ABSENT and found is not None and found not in values
