"""Calls of tools and what they returned, in words for people. Pure."""

import json
from typing import Final

from runner.base.text import clean, clean_name
from runner.chat.steps import ToolUse
from runner.chat.tools.region import source_name
from runner.chat.wire import arguments_of

_NAME: Final = 80  # characters
_VALUE: Final = 120
_LONG: Final = 4000
_LINE: Final = 80
_PLACE: Final = ("x", "y", "w", "h")


def use_words(use: ToolUse) -> str:
    """Return a call in one line: `zoom photo.jpg · 120,40 · 400x300`, `read_file path=a.txt`.

    Neither its name nor its arguments are trusted: they are cleaned, and cut where they are long.
    """
    name = clean_name(use.call.name, _NAME) if use.call.name.strip() else "a tool"
    if len(use.call.text) > _LONG:  # it is not taken apart with each token that comes
        return f"{name} · {len(use.call.text):,} characters"
    given = arguments_of(use.call.text)
    if given is None:
        return f"{name} {clean_name(use.call.text, _VALUE)}".rstrip()
    pictures = use.result.pictures if use.result is not None else ()
    if {"x", "y"} <= given.keys() and (pictures or "image" in given):
        image = _value(given.pop("image", ""))
        of = clean_name(source_name(pictures[0].name), _NAME) if pictures else f"image {image}"
        x, y, w, h = (_value(given.pop(key, "")) for key in _PLACE)
        place = f"{x},{y}" + (f" · {w}x{h}" if w and h else "")
        return " · ".join([f"{name} {of}", place, *map(_value, given.values())])
    return " ".join(
        [name, *(f"{clean_name(key, 40)}={_value(each)}" for key, each in given.items())]
    )


def arguments_text(use: ToolUse) -> str:
    """Return the arguments of a call as they are written out: JSON, with line breaks if long."""
    if len(use.call.text) > _LONG:
        return clean(use.call.text)
    given = arguments_of(use.call.text)
    if given is None:
        return clean(use.call.text)
    short = json.dumps(given, ensure_ascii=False)
    return clean(short if len(short) <= _LINE else json.dumps(given, indent=2, ensure_ascii=False))


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clean_name(text, _VALUE) if text.strip() else ""
