"""What a conversation carries from earlier answers, made such that the engine takes it."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

_EMPTY: Final = "{}"


def arguments(found: str) -> str:
    """Return a call's arguments as the JSON of an object.

    A model may have written other text, or was cut off in the middle. The engine would refuse the
    whole conversation for it, for good; instead the model sees what it wrote, as one argument.
    """
    if not found.strip():
        return _EMPTY
    try:
        if isinstance(msgspec.json.decode(found), dict):
            return found
    except (ValueError, RecursionError):
        pass
    return msgspec.json.encode({"arguments": found}).decode()


def drop_nulls(found: dict[str, Any], keep: Collection[str] = ()) -> bool:
    """Remove the fields that are null, which the engine takes for a wrong type; tell if any was."""
    nulls = [name for name, value in found.items() if value is None and name not in keep]
    for name in nulls:
        del found[name]
    return bool(nulls)


def drop_kinds(found: Any, kinds: Collection[str]) -> list[str]:
    """Remove the objects of these types from a list, whatever else it holds; return their types."""
    if not isinstance(found, list):
        return []
    types = [each.get("type") if isinstance(each, dict) else None for each in found]
    gone = [kind for kind in types if isinstance(kind, str) and kind in kinds]
    if gone:
        pairs = zip(types, found, strict=True)
        found[:] = [each for kind, each in pairs if not (isinstance(kind, str) and kind in kinds)]
    return gone
