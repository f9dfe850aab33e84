"""The saved chats, as the picker of the window needs them."""

from runner.chat.sessions.deleting import delete_chat
from runner.chat.sessions.index import ChatTitle, list_chats, note_chat
from runner.chat.sessions.store import Session, find_session
from runner.chat.sessions.tree import name_record


class SavedChats:
    """The chats of this user, as they are on the disk.

    All of it blocks: the window calls it in a thread. Each raises what `SteprunError` there is: a
    chat that is open elsewhere, a disk that is full.
    """

    def chats(self) -> tuple[ChatTitle, ...]:
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
