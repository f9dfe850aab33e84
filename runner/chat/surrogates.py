"""Joins characters that a server cut into two surrogates, one at the end of a piece. Pure.

Servers written in JavaScript cut text between UTF-16 units. Half a character cannot be shown, saved
or sent again, so that one without its other half becomes U+FFFD.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from runner.chat.events import Event, Reasoning, Text

_ANY = re.compile("[\ud800-\udfff]")
_FIRST_AT_END = re.compile("[\ud800-\udbff]\\Z")


class Pairs:
    """Passes one answer's events on, each text made of whole characters."""

    def __init__(self) -> None:
        self._held: Text | Reasoning | None = None  # the first half of a character

    def take(self, event: Event) -> Iterator[Event]:
        """Yield what an event amounts to, after what was held back of another kind."""
        held, self._held = self._held, None
        if held is not None and type(held) is not type(event):
            yield replace(held, text="\ufffd")
            held = None
        if not isinstance(event, Text | Reasoning):
            yield event
            return
        text = held.text + event.text if held else event.text
        if not _ANY.search(text):
            yield event
            return
        if half := _FIRST_AT_END.search(text):
            self._held, text = replace(event, text=half[0]), text[: half.start()]
        if text:
            whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            yield replace(event, text=whole)
