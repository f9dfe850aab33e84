"""The words of all chats: found, kept up to date, forgotten, made anew where they are damaged."""

import concurrent.futures
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from runner.base.errors import Refused
from runner.chat.finding import HitPlace
from runner.chat.sessions import word_file, word_index
from runner.chat.sessions.entries import SessionEntry, answered
from runner.chat.sessions.index import NEWER, list_chats
from runner.chat.sessions.saved import SavedChats
from runner.chat.sessions.store import Session, sessions_dir
from runner.chat.sessions.word_index import IndexState, WordIndex
from runner.chat.steps import StepKind, TurnStep
from runner.chat.wire import Message

LONG_S = 60.0


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))


def saved(question="hello", *steps, at=None):
    session = Session.create("Fake")
    session.add(SessionEntry(Message("user", question)))
    session.add(answered([TurnStep(*step) for step in steps] or [TurnStep(StepKind.TEXT, "fine")]))
    if at is not None:
        os.utime(session.path, (at, at))
    return session


def index():
    made = WordIndex()
    made.update(LONG_S)
    return made


def found(words, made=None):
    return [hit.chat for hit in (made or index()).search(words)]


def test_words_of_every_part_of_a_chat_are_found():
    session = saved(
        "What is a Quetzal?",
        (StepKind.THINKING, "a bird, I think"),
        (StepKind.CALL, '{"query": "quetzales"}', 0.0, 0, "lookup"),
        (StepKind.RESULT, "found in Guatemala"),
        (StepKind.TEXT, "It is a **trogon** of Élan."),
    )
    made = index()
    for words, place in (
        ("quetzal?", HitPlace.QUESTION),
        ("BIRD think", HitPlace.THINKING),
        ("lookup guatemala", HitPlace.TOOL),
        ("a trogon of elan", HitPlace.ANSWER),
        ("elan trogon", HitPlace.ANSWER),
    ):
        (hit,) = made.search(words)
        assert (hit.chat, hit.place) == (session.id, place)
        assert hit.entry in session.tree.entries
    assert made.search("a trogon of elan")[0].piece == "It is a **trogon** of Élan."
    assert made.search("a trogon of elan")[0].wanted == "a trogon of elan"
    assert made.search("elan trogon")[0].wanted == "trogon"
    assert found("zebra") == found("trogon zebra") == found("  ") == []


@pytest.mark.parametrize("trigrams", [True, False])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天的天气很好", "天气"),
        ("今天的天气很好", "天的天气"),
        ("日本語のテキスト", "テキスト"),
        ("한국어를 배운다", "한국어"),
        ("C is a language", "C"),
        ("unbelievable", "believ"),
        ('he said "no" to it', '"no" to'),
        ("NEAR and NOT or AND", "not OR and"),
        ("100% of_it", "100% of_"),
        ("\N{GRINNING FACE} hi", "\N{GRINNING FACE}"),
    ],
)
def test_words_of_any_language_are_found(text, words, trigrams, monkeypatch):
    monkeypatch.setattr(word_file, "has_trigrams", lambda: trigrams)
    monkeypatch.setattr(word_index, "has_trigrams", lambda: trigrams)
    saved("other")
    session = saved("hello", (StepKind.TEXT, text))
    assert found(words) == [session.id]


def test_the_chat_saved_last_is_first():
    chats = [saved("apples", at=1_700_000_000 + n) for n in range(5)]
    assert found("apples") == [chat.id for chat in reversed(chats)]
    chats[0].add(SessionEntry(Message("user", "apples again")))
    assert found("apples")[0] == chats[0].id


def test_times_that_are_far_off_do_no_harm():
    for at in (-5_000_000_000, 0, 1 << 33, 1 << 33):
        saved("apples", at=at)
    assert len(found("apples")) == 4


def test_only_what_is_new_is_added_and_what_is_gone_is_not_found():
    session = saved("apples")
    made = index()
    with contextlib.closing(sqlite3.connect(made.path)) as base:
        (first,) = base.execute("SELECT id FROM texts WHERE text = 'apples'").fetchone()
    session.add(SessionEntry(Message("user", "pears")))
    assert found("pears") == [session.id]
    with contextlib.closing(sqlite3.connect(made.path)) as base:
        assert base.execute("SELECT id FROM texts WHERE text = 'apples'").fetchone() == (first,)
    lines = session.path.read_bytes().split(b"\n")
    session.path.write_bytes(b"\n".join([lines[0], b"spoiled", *lines[2:]]))
    assert found("apples") == []
    assert found("pears") == [session.id]
    session.path.unlink()
    assert found("pears") == []
    assert made.update(LONG_S) == IndexState(0, 0)


def test_an_update_is_bounded_and_goes_on_where_it_ended():
    for n in range(20):
        saved(f"apples {n}", at=1_700_000_000 + n)
    made = WordIndex()
    seen = []
    while (state := made.update(0.0001)).done < state.total:
        seen.append(state.done)
        assert len(seen) < 500
    assert len(seen) > 1
    assert len(found("apples", made)) == 20
    begin = time.thread_time()
    assert made.update(LONG_S) == IndexState(20, 20)
    assert time.thread_time() - begin < 1.0


def test_the_file_is_private_and_has_no_trace_of_a_deleted_chat():
    kept, gone = saved("apples are kept"), saved("xqzjkwv is gone", (StepKind.TEXT, "wvkjzqx"))
    made = index()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert b"xqzjkwv" in made.path.read_bytes()
    SavedChats().remove(gone.id)
    SavedChats().forget([gone.id])
    data = made.path.read_bytes()
    for left in (b"xqzjkwv", b"wvkjzqx", b"xqz", b"qzj", b"kjz", gone.id.encode()):
        assert left not in data
    assert [path.name for path in sessions_dir().glob("words*")] == ["words.db"]
    assert found("apples") == [kept.id]


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "empty", "middle", "version", "table"])
def test_a_damaged_file_is_made_anew(damage):
    session = saved("apples")
    for n in range(30):
        saved(f"filler {n} " * 50)
    made = index()
    data = made.path.read_bytes()
    if damage == "version":
        with contextlib.closing(sqlite3.connect(made.path)) as base:
            base.execute("PRAGMA user_version = 7")
    elif damage == "table":
        with contextlib.closing(sqlite3.connect(made.path)) as base, base:
            base.execute("DROP TABLE chats")
    else:
        made.path.write_bytes(
            {
                "cut": data[: len(data) // 2],
                "zeros": bytes(len(data)),
                "text": b"not a database " * 1000,
                "empty": b"",
                "middle": data[:4096] + os.urandom(len(data) - 4096),
            }[damage]
        )
    made.update(LONG_S)
    assert found("apples", made) == [session.id]


def test_a_file_that_is_spoiled_anywhere_raises_nothing_else():
    for n in range(4):
        saved(f"apples {n}")
    made = index()
    data = made.path.read_bytes()
    for at in range(0, len(data), 997):
        made.path.write_bytes(data[:at] + b"\xff\x00\x7f\xff" * 8 + data[at + 32 :])
        made.update(LONG_S)
        made.search("apples")
        made.questions(10)
        made.forget(["20261127-120000-aaaa0000"])


def test_a_file_cut_at_any_page_raises_nothing_else():
    saved("apples")
    made = index()
    data = made.path.read_bytes()
    for at in (*range(0, len(data), 2048), *range(110), len(data) - 1):
        made.path.write_bytes(data[:at])
        made.update(LONG_S)
        assert found("apples", made), at


def test_a_lost_file_is_made_anew():
    session = saved("apples")
    index().path.unlink()
    assert found("apples") == [session.id]


def test_another_window_that_writes_is_waited_for_and_then_named(monkeypatch):
    monkeypatch.setattr(word_file, "WAIT_S", 0.05)
    saved("apples")
    made = index()
    saved("pears")
    with contextlib.closing(sqlite3.connect(made.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Refused, match="Another window is writing") as caught:
            made.update(LONG_S)
        assert "Try again" in caught.value.next
        assert found("apples", WordIndex())  # reading goes on
    assert found("pears")


@pytest.mark.skipif(os.name != "posix", reason="other systems have other locks")
def test_a_search_takes_no_lock_off_a_thread_that_writes():
    saved("apples")
    made = index()
    try_to_write = "import sqlite3, sys; b = sqlite3.connect(sys.argv[1], timeout=0); b.execute"
    with contextlib.closing(sqlite3.connect(made.path)) as writes:
        writes.execute("BEGIN IMMEDIATE")
        assert found("apples", made)
        other = [sys.executable, "-c", f"{try_to_write}('BEGIN IMMEDIATE')", str(made.path)]
        tried = subprocess.run(other, capture_output=True, text=True, check=False)
    assert "database is locked" in tried.stderr


def test_two_windows_may_bring_it_up_to_date_at_once(monkeypatch):
    monkeypatch.setattr(word_index, "COMMIT_S", 0.0)
    monkeypatch.setattr(word_file.WordFile, "discard", None)  # neither takes it for damaged
    for n in range(40):
        saved(f"apples {n}", at=1_700_000_000)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        states = list(threads.map(lambda _: WordIndex().update(LONG_S), range(4)))
    assert states == [IndexState(40, 40)] * 4
    assert len(found("apples")) == 40
    with contextlib.closing(sqlite3.connect(WordIndex().path)) as base:
        assert base.execute("SELECT count(*), count(DISTINCT chat) FROM texts").fetchone() == (
            80,
            40,
        )


def test_a_full_disk_costs_the_index_and_nothing_else(monkeypatch):
    session = saved("apples")
    made = index()
    opened = word_file.WordFile._opened

    def full(self):
        base = opened(self)
        (pages,) = base.execute("PRAGMA page_count").fetchone()
        base.execute(f"PRAGMA max_page_count = {pages}")  # SQLite says that the disk is full
        return base

    monkeypatch.setattr(word_file.WordFile, "_opened", full)
    before = session.path.read_bytes()
    saved("pears " * 100_000)
    with pytest.raises(Refused, match="full") as caught:
        made.update(LONG_S)
    assert "free some space" in caught.value.next
    assert found("apples", made) == [session.id]
    assert session.path.read_bytes() == before


def test_a_folder_in_its_place_is_said():
    saved("apples")
    WordIndex().path.mkdir()
    for call in (lambda: WordIndex().update(1.0), lambda: WordIndex().search("apples")):
        with pytest.raises(Refused, match="cannot be used"):
            call()


def test_chats_that_cannot_be_read_have_no_words_and_stop_none():
    (sessions_dir()).mkdir(parents=True)
    (sessions_dir() / "20261127-120000-aaaa0000.jsonl").write_bytes(b"\xff\xfe junk\n" * 10)
    newer = saved("apples of tomorrow")
    newer.path.write_text(newer.path.read_text().replace("session/2", "session/9"))
    odd = saved("lone \ud800 and \0 and apples")
    assert found("apples") == [odd.id]
    assert WordIndex().update(LONG_S) == IndexState(3, 3)
    titles = {each.id: each.title for each in list_chats()}
    assert titles[newer.id] == NEWER, "the list still says why it cannot be opened"


def test_a_chat_cut_at_every_byte_is_indexed_as_far_as_it_goes():
    session = saved("apples", (StepKind.TEXT, "pears"))
    data = session.path.read_bytes()
    made = index()
    for at in range(0, len(data), 7):
        session.path.write_bytes(data[:at])
        made.update(LONG_S)
        assert found("apples", made) == ([session.id] if data[:at].count(b"\n") >= 2 else [])[
            :1
        ] or (b'"apples"}' in data[:at])


@pytest.mark.parametrize(
    "spoil", [b"", b"{}", b"\xff\x00", b'{"id": 5}', b'{"retry": true}', b"[" * 9]
)
def test_a_chat_spoiled_in_any_line_is_indexed_and_copied_as_far_as_it_goes(spoil):
    session = saved("apples", (StepKind.TEXT, "pears"))
    session.add(SessionEntry(Message("user", "plums")))
    lines = session.path.read_bytes().split(b"\n")
    made = index()
    for at in range(len(lines) - 1):
        session.path.write_bytes(b"\n".join([*lines[:at], spoil, *lines[at + 1 :]]))
        made.update(LONG_S)
        for word, line in (("apples", 1), ("pears", 2), ("plums", 3)):
            assert found(word, made) == ([session.id] if at != line else [])
        copied = Session.load(SavedChats().copy(session.id))
        assert len(copied.tree.entries) == (3 if at == 0 else 2)
        copied.path.unlink()


def test_messages_of_all_chats_are_returned_newest_first():
    for n in range(3):
        saved(f"question {n}", at=1_700_000_000 + n)
    saved("question 1", at=1_700_000_009)
    index()
    assert SavedChats().questions(10) == ["question 1", "question 2", "question 0"]
    assert SavedChats().questions(2) == ["question 1", "question 2"]


def test_a_search_ends_in_time(monkeypatch):
    monkeypatch.setattr(word_index, "SEARCH_S", 0.0)
    for n in range(30):
        saved(f"apples {n} " * 500)
    assert len(found("ap")) <= 1


def test_long_texts_are_bounded():
    session = saved("a" * (2 << 20) + " the end", (StepKind.TEXT, "the beginning"))
    made = index()
    assert found("the beginning", made) == [session.id]
    assert found("the end", made) == []
