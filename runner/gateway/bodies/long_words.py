"""Refuses texts that are too long: for any context, or for the engine's stack in one word."""

from collections.abc import Collection, Iterator
from typing import Any, Final

from runner.chat.long_word import holds_longer_run
from runner.gateway.calls import Asked
from runner.gateway.refusal import Refusal

# Of a request, without its pictures. 262,144 tokens, the longest context, come to 64 bytes each;
# and it takes 30 ms to parse, in which nobody else is answered.
TEXT_BYTES: Final = 16 << 20
_JOINED: Final = ("text", "thinking")  # of the parts of a message, which the engine may join


def refuse_long_text(size: int) -> None:
    """Raise Refusal (413) for more bytes of text, without the pictures, than fit any context."""
    if size > TEXT_BYTES:
        raise Refusal(413, f"The text of the request is larger than {TEXT_BYTES >> 20} MiB.")


def refuse_long_words(asked: Asked, pictures: Collection[str], limit: int) -> None:
    """Raise Refusal (400) where a text in a body has a run of more than `limit` characters.

    `limit` 0: any is borne. A body that is shorter cannot hold one, and is not looked at. The
    `pictures` that were found in the document are no text: these very objects are left out, and
    nothing that only looks like one.
    """
    if not limit or len(asked.data) <= limit:
        return
    for part in texts(asked.document, {id(each) for each in pictures}):
        text = asked.aside.whole(part)
        if holds_longer_run(text, limit):
            raise Refusal(
                400,
                f"A text in the request has more than {limit:,} characters without a break, which "
                "may end the engine on this system. Put line breaks into it, or leave it out.",
            )


def texts(document: Any, but: Collection[int] = ()) -> Iterator[str]:
    """Yield every text in a document, and what lists of text parts come to when joined.

    `but`: the `id` of those to leave out.
    """
    waiting = [document]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            if id(found) not in but:
                yield found
        elif isinstance(found, dict):
            waiting += found.keys()
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
            for name in _JOINED:
                parts = [each.get(name) for each in found if isinstance(each, dict)]
                yield "".join(part for part in parts if isinstance(part, str))
