"""The saved chats, as the picker of the window needs them."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.base.errors import Refused
from runner.chat.sessions.deleting import delete_chat
from runner.chat.sessions.store import Session, list_sessions


class ListedChat(Protocol):
    """A saved chat in a list: `last_used` in seconds since the epoch, `bytes` on the disk."""

    @property
    def id(self) -> str:
        """Its ID, as for --resume."""

    @property
    def title(self) -> str:
        """Its name, or the beginning of its first question."""

    @property
    def last_used(self) -> float:
        """When it was written to last."""

    @property
    def answers(self) -> int:
        """How many answers it has."""

    @property
    def bytes(self) -> int:
        """What its file takes, without images."""


class ChatShelf(Protocol):
    """Lists, renames and deletes saved chats. All of it blocks: the window calls it in a thread.

    Each raises what `SteprunError` there is: a chat that is open elsewhere, a disk that is full.
    """

    def chats(self) -> Sequence[ListedChat]:
        """Return all saved chats, the last used one first."""

    def rename(self, chat_id: str, name: str) -> None:
        """Give a chat a name."""

    def delete(self, chat_id: str) -> None:
        """Delete a chat for good."""


@dataclass(frozen=True, slots=True)
class SavedChat:
    """A chat of which no more is known than its file says from outside."""

    id: str
    title: str
    last_used: float
    answers: int
    bytes: int


class SavedChats:
    """The chats of this user, as they are on the disk."""

    def chats(self) -> Sequence[ListedChat]:
        """Return all saved chats, the last used one first."""
        return [_seen(session_id) for session_id in list_sessions()]

    def rename(self, chat_id: str, name: str) -> None:
        """Give a chat a name."""
        raise Refused(f"The chat {chat_id} cannot be called {name!r}.", why="Chats have IDs only.")

    def delete(self, chat_id: str) -> None:
        """Delete a chat for good."""
        delete_chat(chat_id)


def _seen(session_id: str) -> SavedChat:
    session, last_used, size = Session(session_id), 0.0, 0
    for path in (session.path, session.draft_path):
        with contextlib.suppress(OSError):
            stat = path.stat()
            last_used, size = max(last_used, stat.st_mtime), size + stat.st_size
    return SavedChat(session_id, "", last_used, 0, size)
