"""The arguments of a call: read, and written out so that nothing in them hides. Pure."""

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from runner.base.text import clean
from runner.chat.inert import inert
from runner.chat.wire import arguments_of

# A long file that the model writes; the API bounds its answer, too.
ARGUMENT_CHARS: Final = 256 << 10
# Categories of Unicode (UAX 44) that show nothing, or change how what is beside them is shown.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BREAKS: Final = frozenset({"\n", "\t"})


def parse_arguments(text: str) -> dict[str, Any] | str:
    """Return the arguments of a call, or a sentence that says why they cannot be used."""
    if len(text) > ARGUMENT_CHARS:
        return f"The arguments are longer than {ARGUMENT_CHARS:,} characters."
    arguments = arguments_of(text)
    return "The arguments are not a JSON object." if arguments is None else arguments


def one_line(arguments: Mapping[str, Any]) -> str:
    """Return arguments as JSON in one line, what is invisible escaped."""
    return visible(json.dumps(arguments, ensure_ascii=False))


def written_out(arguments: Mapping[str, Any]) -> str:
    """Return arguments over several lines, what is invisible escaped; what is run is this."""
    return visible(json.dumps(arguments, ensure_ascii=False, indent=2))


def visible(text: str) -> str:
    r"""Return a text in which each character is seen: those that are not are written as `\u202e`.

    For what a user decides on: nothing may be hidden by a direction override, a character without
    width, or a space that is no space.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(character) for character in text)


def without_hidden(text: str) -> str:
    """Return a text without characters that are not seen: what a server says is read by both.

    The model must not get words that the user cannot see, nor take any for the end of its own.
    """
    if not (text.isascii() and text.isprintable()):
        seen = (c for c in clean(text) if c in _BREAKS or unicodedata.category(c) not in _HIDDEN)
        text = "".join(seen)
    return inert(text)


def _seen(character: str) -> str:
    kind = unicodedata.category(character)
    if character == "\n" or (kind not in _HIDDEN and (kind != "Zs" or character == " ")):
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
