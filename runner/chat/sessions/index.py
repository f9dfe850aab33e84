"""The titles of the saved chats: one file, so that a list of thousands opens none of them.

Each chat appends a line when it has saved an answer; the last line of a chat counts, and only while
it fits the chat's file. What is missing (chats of earlier versions, copied ones) is read once. The
index is a cache: it may be deleted at any time.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from runner.base.errors import SteprunError
from runner.base.files import make_private_dir, write_private
from runner.base.text import clean_name
from runner.chat.sessions.entries import line, record_of, text_of
from runner.chat.sessions.store import FORMAT, Session, by_last_use, sessions_dir
from runner.chat.sessions.titles import TITLE_CHARS, title_of_text, title_of_texts
from runner.chat.sessions.tree import ChatTree
from runner.chat.untrusted import integer

TITLED_BY: Final = 6  # questions and answers: what a chat is about shows early
NEWER: Final = "(made by a newer version: update steprun to open it)"
INDEX: Final = "index.jsonl"
READ_AT_ONCE: Final = 200  # chats that are not in the index yet; each takes about a millisecond
INDEX_BYTES: Final = 32 << 20  # of 100,000 chats; a longer one is written anew


@dataclass(frozen=True, slots=True)
class ChatTitle:
    """A saved chat in a list.

    `title`: its name, or the beginning of its first question; empty where it was not read yet.
    `last_used` in seconds since the epoch; `answers` on its current branch; `bytes` of its file,
    without pictures, 0 where it is only a draft.
    """

    id: str
    title: str
    last_used: float
    answers: int
    bytes: int


def index_path() -> Path:
    """Return the file of the index."""
    return sessions_dir() / INDEX


def list_chats(read: int = READ_AT_ONCE) -> tuple[ChatTitle, ...]:
    """Return all saved chats, the last used one first. Blocks: call it in a thread.

    At most `read` of those that the index does not know are opened, the last used ones first.
    """
    used = by_last_use()
    known, lines = _read_index()
    new: list[ChatTitle] = []
    found: list[ChatTitle] = []
    for session_id, (last_used, size) in used.items():
        title = known.get(session_id)
        if title is None or title.bytes != size:
            if len(new) < read:
                title, whole = _read_chat(session_id, size)
                new += [title] if whole else []
                read -= not whole
            else:
                title = ChatTitle(session_id, "", last_used, 0, size)
        found.append(ChatTitle(session_id, title.title, last_used, title.answers, size))
    if lines + len(new) > 2 * len(used) + READ_AT_ONCE:
        _rewrite([title for title in found if title.title])
    else:
        _append(new, index_path())
    return tuple(found)


def note_chat(session: Session) -> None:
    """Put a chat that has just been saved into the index. A failure costs a moment later, only."""
    with contextlib.suppress(OSError):
        size = session.path.stat().st_size
        answers = sum(not entry.asks for entry in session.entries)
        title = ChatTitle(session.id, title_of(session.tree), 0.0, answers, size)
        _append([title], session.folder / INDEX)


def title_of(tree: ChatTree) -> str:
    """Return a chat's name, or else what it asks first, or the name of its first picture."""
    if tree.name:
        return clean_name(tree.name, TITLE_CHARS)
    asked = [entry.message for entry in tree.branch()[:TITLED_BY] if entry.asks]
    names = ", ".join(picture.name for message in asked[:1] for picture in message.pictures)
    return title_of_texts(message.text for message in asked) or title_of_text(names)


def _read_chat(session_id: str, size: int) -> tuple[ChatTitle, bool]:
    """Return what a list says of a chat, and whether that stays so as long as its file does."""
    session = Session(session_id)
    title, answers, whole = "", 0, True
    try:
        session.read(pictures=False)
        title = title_of(session.tree)
        answers = sum(not entry.asks for entry in session.entries)
        if not title and (draft := session.draft_text()):
            title = title_of_text(draft)
    except SteprunError as error:
        newer = session.format() > FORMAT
        title, whole = NEWER if newer else f"({error.what})", False
    return ChatTitle(session_id, title, 0.0, answers, size), whole


def _read_index() -> tuple[Mapping[str, ChatTitle], int]:
    """Return the titles that the index has, and how many lines it has for them."""
    titles: dict[str, ChatTitle] = {}
    try:
        if index_path().stat().st_size > INDEX_BYTES:
            return {}, INDEX_BYTES
        lines = index_path().read_bytes().split(b"\n")
    except OSError:
        return {}, 0
    for data in lines:
        record = record_of(data)
        if session_id := text_of(record, "id"):
            counts = integer(record.get("answers")), integer(record.get("bytes"))
            title = clean_name(name, TITLE_CHARS) if (name := text_of(record, "title")) else ""
            titles[session_id] = ChatTitle(session_id, title, 0.0, *counts)
    return titles, len(lines)


def _lines(titles: list[ChatTitle]) -> bytes:
    records = (asdict(title) for title in titles)
    names = ("id", "title", "answers", "bytes")
    return b"".join(line({name: record[name] for name in names}) for record in records)


def _append(titles: list[ChatTitle], path: Path) -> None:
    if not titles:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    with contextlib.suppress(OSError, SteprunError):
        make_private_dir(path.parent)
        # One write: several chats append to the file at once.
        with os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0) as file:
            file.write(b"\n" + _lines(titles))


def _rewrite(titles: list[ChatTitle]) -> None:
    """Write one line a chat. What another chat appends meanwhile is lost, and read again once."""
    lock = FileLock(index_path().with_suffix(".lock"), timeout=0, mode=0o600)
    with contextlib.suppress(OSError, SteprunError, Timeout), lock:
        write_private(index_path(), _lines(titles))
