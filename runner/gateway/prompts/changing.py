"""Leaves out what clients change in the beginning of every prompt. Pure but for its table."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from runner.gateway.calls import Asked

_TABLE: Final = Path(__file__).with_name("changing.toml")
_SYSTEM: Final = ("system", "developer")


class Changing(msgspec.Struct, frozen=True):
    """One thing that changes. `changing.toml` says what the fields mean."""

    name: str
    client: str
    pattern: str


@cache
def changing() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return what is left out: its name, and the beginning of a text that it is."""
    found = msgspec.toml.decode(_TABLE.read_bytes(), type=dict[str, tuple[Changing, ...]])
    return tuple((each.name, re.compile(each.pattern)) for each in found["changing"])


def leave_out(asked: Asked) -> None:
    """Leave out of a request's system prompts what changes; it is named as ignored.

    Call it once the body was checked, with the document as the engine's own API has it.
    """
    for holder, key in _system_texts(asked.document):
        for name, pattern in changing():
            if match := pattern.match(holder[key]):
                holder[key] = holder[key][match.end() :]
                asked.changed = True
                asked.ignored.append(name)


def _system_texts(document: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield where the texts of system prompts are: `holder[key]`."""
    yield from _texts(document, "instructions")
    yield from _texts(document, "system")
    for field in ("messages", "input"):
        found = document.get(field)
        for message in found if isinstance(found, list) else ():
            if isinstance(message, dict) and message.get("role") in _SYSTEM:
                yield from _texts(message, "content")


def _texts(holder: dict[str, Any], key: str) -> Iterator[tuple[Any, Any]]:
    found = holder.get(key)
    if isinstance(found, str):
        yield holder, key
    for part in found if isinstance(found, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part, "text"
