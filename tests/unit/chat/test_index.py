"""The index of titles: what a list of chats says, and how few files it opens for that."""

import os
from pathlib import Path

import pytest

from runner.chat.sessions import index
from runner.chat.sessions.entries import SCHEMA, SessionEntry
from runner.chat.sessions.index import ChatTitle, index_path, list_chats, note_chat, title_of
from runner.chat.sessions.store import Session, find_session, sessions_dir
from runner.chat.wire import Message, Picture


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The IDs of the chats whose files are opened, in order."""
    names: list[str] = []
    read, kind = Session.read, Session.format

    def reads(self: Session, *, pictures: bool = True) -> None:
        names.append(self.id)
        read(self, pictures=pictures)

    def looks(self: Session) -> int:
        names.append(self.id)
        return kind(self)

    monkeypatch.setattr(Session, "read", reads)
    monkeypatch.setattr(Session, "format", looks)
    return names


def talked(question: str, at: int, *, noted: bool = True) -> Session:
    session = Session.create("Step")
    session.add(SessionEntry(Message("user", question)))
    session.add(SessionEntry(Message("assistant", "Yes.")))
    if noted:
        note_chat(session)
    os.utime(session.path, (at, at))
    return session


def test_chats_are_listed_by_their_last_use_and_none_is_opened(opened):
    first, second = talked("What is\n a cat?", 2000), talked("x" * 100, 3000)
    first.save_draft("more")
    os.utime(first.draft_path, (4000, 4000))
    opened.clear()
    size = first.path.stat().st_size
    assert list_chats()[0] == ChatTitle(first.id, "What is a cat?", 4000.0, 1, size)
    assert list_chats()[1].title == "x" * 71 + "…"
    assert list_chats()[1].id == second.id
    assert opened == []


def test_chats_that_the_index_does_not_know_are_read_once_and_not_all_at_once(opened):
    ids = [talked(f"chat {n}", 1000 - n, noted=False).id for n in range(5)]
    opened.clear()
    assert [chat.title for chat in list_chats(3)] == ["chat 0", "chat 1", "chat 2", "", ""]
    assert [chat.title for chat in list_chats(3)] == [f"chat {n}" for n in range(5)]
    list_chats(3)
    assert opened == ids


def test_a_chat_that_has_changed_is_read_again():
    session = talked("a", 1000)
    session.add(SessionEntry(Message("user", "b")))  # by a program that knows no index
    session.add(SessionEntry(Message("assistant", "c")))
    [chat] = list_chats()
    assert (chat.answers, chat.bytes) == (2, session.path.stat().st_size)


def test_a_deleted_chat_is_not_listed_and_a_draft_is():
    talked("a", 1000).path.unlink()
    drafted = Session.create("Step")
    drafted.save_draft("half a\nthought")
    assert [(chat.id, chat.title, chat.bytes) for chat in list_chats()] == [
        (drafted.id, "half a thought", 0)
    ]


@pytest.mark.parametrize("spoilt", [b"\0\xff", b'{"id": 7}\n' * 9, b"[" * 100_000, b""])
def test_a_damaged_index_is_no_trouble(spoilt):
    talked("a", 1000)
    index_path().write_bytes(spoilt)
    assert [chat.title for chat in list_chats()] == ["a"]
    assert [chat.title for chat in list_chats()] == ["a"]


def test_the_index_stays_short(monkeypatch):
    monkeypatch.setattr(index, "READ_AT_ONCE", 10)
    session = talked("a", 1000)
    for _ in range(40):
        note_chat(session)
    assert [chat.title for chat in list_chats()] == ["a"]
    assert len(index_path().read_bytes().splitlines()) == 1
    assert index_path().stat().st_mode & 0o777 == 0o600


def test_a_title_is_the_users_name_or_the_first_words_or_pictures():
    session = Session.create("Step")
    picture = Picture("cat.png", "image/png", b"", 1, 1, 1)
    session.tree.add(SessionEntry(Message("user", " ", (picture,)), id="q1"))
    assert title_of(session.tree) == "cat.png"
    session.tree.name = "About\x1b cats"
    assert title_of(session.tree) == "About cats"
    assert title_of(Session.create("Step").tree) == ""


def test_the_last_chat_of_thousands_is_found_without_opening_the_others(opened):
    folder = sessions_dir()
    folder.mkdir(parents=True)
    header = f'{{"schema": "{SCHEMA}"}}\n'
    for number in range(2000):
        (folder / f"20260101-000000-{number:08x}.jsonl").write_text(header)
    newest = "20260101-000000-000003e8"
    os.utime(folder / f"{newest}.jsonl", (4_000_000_000, 4_000_000_000))
    assert find_session() == newest
    assert opened == [newest]
