"""What can be done with the saved chats of this user, all at once. Everything here blocks."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.files import listed, write_private
from runner.chat.sessions.deleting import delete_chat
from runner.chat.sessions.entries import SCHEMA, line, record_of
from runner.chat.sessions.index import ChatTitle, list_chats, note_chat, title_of
from runner.chat.sessions.store import Session, find_session, sessions_dir
from runner.chat.sessions.tree import name_record

if TYPE_CHECKING:
    from runner.chat.sessions.word_index import ChatHit, IndexState, WordIndex


class SavedChats:
    """The chats as they are on the disk.

    The window calls it in a thread. Each raises what `SteprunError` there is: a chat that is open
    elsewhere, a disk that is full.
    """

    def chats(self) -> Sequence[ChatTitle]:
        """Return all saved chats, the last used one first."""
        return list_chats()

    def image_bytes(self) -> int:
        """Return how much the images of all chats take on the disk."""
        total = 0
        for path in listed(sessions_dir() / "pictures"):
            with contextlib.suppress(OSError):  # deleted meanwhile
                total += path.stat().st_size
        return total

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

    def remove(self, *chat_ids: str) -> None:
        """Delete chats for good, but for their words in the index: `forget` takes longer.

        One that cannot be deleted stops none.
        """
        troubles: list[SteprunError] = []
        for chat_id in chat_ids:
            try:
                delete_chat(chat_id)
            except SteprunError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def copy(self, chat_id: str) -> str:
        """Copy a chat, also one that is open elsewhere; return the ID of the copy.

        What is not saved of it yet is not in the copy.
        """
        session = Session(find_session(chat_id))
        session.read(pictures=False)
        copied = Session.create(session.title)
        header = {"schema": SCHEMA, "id": copied.id, "created": copied.created}
        header["title"] = copied.title
        try:
            lines = session.path.read_bytes().split(b"\n")
        except OSError as error:
            raise BadFile(
                f"The chat {chat_id} cannot be copied.", why=f"{error.strerror or error}."
            ) from error
        kept = lines[1:] if record_of(lines[0]).get("schema") else lines
        name = line(name_record(f"{title_of(session.tree)} (copy)"))
        write_private(copied.path, line(header) + b"\n".join([*kept, b""]) + name)
        return copied.id

    # --- the words of all of them ------------------------------------------------------------

    def take_in(self, seconds: float) -> "IndexState":
        """Bring the index of all words up to date, for about `seconds`."""
        return _words().update(seconds)

    def search(self, typed: str) -> "Sequence[ChatHit]":
        """Return the chats that have these words in one of their texts."""
        return _words().search(typed)

    def questions(self, most: int) -> list[str]:
        """Return the user's messages in all chats, the newest first, each once."""
        return list(dict.fromkeys(_words().questions(most)))

    def forget(self, chat_ids: Iterable[str]) -> None:
        """Delete the words of chats that are no more; of others nothing is lost but time."""
        _words().forget([each for each in chat_ids if not Session(each).path.exists()])


def _words() -> "WordIndex":
    try:
        # Imported when it is first used: the window opens without SQLite.
        from runner.chat.sessions.word_index import WordIndex  # noqa: PLC0415
    except ImportError as error:
        raise Refused(
            "This Python cannot search all chats.",
            why=f"It was built without SQLite ({error}).",
            next="Install steprun with another Python, such as one from python.org.",
        ) from error
    return WordIndex()
