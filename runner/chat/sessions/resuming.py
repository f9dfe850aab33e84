"""Which saved chat somebody means who types an ID or a piece of its title. Blocks."""

from typing import Final

from runner.base.errors import Refused
from runner.chat.finding import folded, needle
from runner.chat.sessions.index import list_chats
from runner.chat.sessions.store import LATEST, find_session, is_session_id

SHOWN: Final = 5  # chats that are named where a title fits several
_WIDE: Final = 40  # characters of a title in that list


def chat_meant(typed: str) -> str:
    """Return the ID of a chat by its ID or by words of its title; `LATEST` stays what it is.

    Raises `Refused` where no chat has it, or several do.
    """
    if typed in ("", LATEST) or is_session_id(typed):
        find_session(typed)
        return typed
    wanted = [each for word in typed.split() if (each := needle(word)) is not None]
    found = [
        chat
        for chat in list_chats()
        if wanted and all(each.pattern.search(folded(chat.title)) for each in wanted)
    ]
    same = [chat for chat in found if folded(chat.title) == folded(typed.strip())]
    found = same if len(same) == 1 else found
    if len(found) == 1:
        return found[0].id
    if not found:
        raise Refused(
            f"No saved chat has the ID or the title {typed[:60]!r}.",
            next="Resume the last one: steprun chat --resume",
        )
    some = "; ".join(f"{chat.id} ({chat.title[:_WIDE]})" for chat in found[:SHOWN])
    more = f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    raise Refused(
        f"{len(found):,} saved chats have {typed[:60]!r} in their title.",
        why=f"They are {some}{more}.",
        next=f"Name one: steprun chat --resume {found[0].id}",
    )
