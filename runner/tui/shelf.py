"""The saved chats, as the picker of the window needs them."""

from collections.abc import Sequence
from typing import Protocol

from runner.chat.sessions.deleting import delete_chat
from runner.chat.sessions.index import list_chats, note_chat
from runner.chat.sessions.store import Session, find_session
from runner.chat.sessions.tree import name_record


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


class SavedChats:
    """The chats of this user, as they are on the disk."""

    def chats(self) -> Sequence[ListedChat]:
        """Return all saved chats, the last used one first."""
        return list_chats()

    def rename(self, chat_id: str, name: str) -> None:
        """Give a chat a name."""
        session = Session(find_session(chat_id))
        session.claim()
        try:
            session.read(pictures=False)
            session.append(name_record(name))
            session.tree.name = name
            note_chat(session)
        finally:
            session.release()

    def delete(self, chat_id: str) -> None:
        """Delete a chat for good."""
        delete_chat(chat_id)
