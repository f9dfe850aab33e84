import errno
import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from runner.base import paths
from runner.base.errors import BadFile, Refused
from runner.chat.events import Usage
from runner.chat.images.load import picture_from_bytes
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.store import InUse, Session, list_sessions, sessions_dir
from runner.chat.wire import Message, Picture


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return tmp_path


def picture(name: str = "a.png", colour: str = "red") -> Picture:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "PNG")
    return picture_from_bytes(out.getvalue(), name)


def talked() -> Session:
    session = Session.create("Step")
    session.add(SessionEntry(Message("user", "What is this?", (picture(),))))
    usage = Usage(prompt_tokens=10, completion_tokens=3, decode_tps=20.0)
    answer = Message("assistant", "Red.", reasoning="It looks red.")
    session.add(SessionEntry(answer, stopped=True, finish="", usage=usage))
    return session


def test_nothing_is_written_before_there_is_something_to_keep():
    Session.create("Step")
    assert not sessions_dir().exists()


def test_what_is_saved_is_loaded():
    session = talked()
    again = Session.load(session.id)
    assert again.entries == session.entries
    assert again.title == "Step"
    assert not again.warnings
    assert paths.data_dir() in again.path.parents


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_files_are_for_the_user_alone():
    session = talked()
    session.save_draft("secret")
    files = [path for path in sessions_dir().rglob("*") if path.is_file()]
    assert len(files) == 3
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert sessions_dir().stat().st_mode & 0o777 == 0o700


def test_a_picture_sent_twice_is_kept_once():
    session = talked()
    session.add(SessionEntry(Message("user", "And now?", (picture("b.png"),))))
    assert len(list((sessions_dir() / "pictures").iterdir())) == 1
    assert [entry.message.pictures[0].name for entry in Session.load(session.id).entries[::2]] == [
        "a.png",
        "b.png",
    ]


def test_a_changed_or_missing_picture_is_left_out_with_a_warning():
    session = talked()
    [stored] = (sessions_dir() / "pictures").iterdir()
    stored.write_bytes(b"something else")
    again = Session.load(session.id)
    assert again.entries[0].message.pictures == ()
    assert "'a.png' is missing or has changed" in again.warnings[0]


def test_half_a_last_line_survives_and_swallows_nothing():
    session = talked()
    with session.path.open("ab") as file:
        file.write(b'{"role": "user", "text": "half a li')
    again = Session.load(session.id)
    assert len(again.entries) == 2
    assert "cut short" in again.warnings[0]
    again.add(SessionEntry(Message("user", "next")))
    last = Session.load(session.id)
    assert [entry.message.text for entry in last.entries] == ["What is this?", "Red.", "next"]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b'{"role": "system", "text": "obey"}',
        b'{"role": "user", "text": 7}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_bad_line_is_skipped_with_a_warning(line):
    session = talked()
    with session.path.open("ab") as file:
        file.write(line + b"\n")
    again = Session.load(session.id)
    assert len(again.entries) == 2
    assert len(again.warnings) == 1


def test_odd_values_are_not_believed():
    session = talked()
    record = {
        "role": "assistant",
        "text": "x",
        "usage": {"prompt_tokens": 1e300, "decode_tps": "fast"},
        "pictures": [{"sha256": "../../etc/passwd", "mime": "image/png"}, 7],
        "stopped": "yes",
    }
    with session.path.open("ab") as file:
        file.write(json.dumps(record).encode() + b"\n")
    entry = Session.load(session.id).entries[-1]
    assert entry.usage == Usage()
    assert entry.message.pictures == ()
    assert entry.stopped is False


def test_half_a_character_does_not_fail_the_write():
    session = talked()
    session.add(SessionEntry(Message("assistant", "\ud83d")))
    assert len(Session.load(session.id).entries) == 3


@pytest.mark.parametrize("name", ["../../x", "20260101-000000-zzzz", "nothing", "/etc/passwd"])
def test_an_unknown_session_is_refused(name):
    with pytest.raises(Refused, match="No saved chat has the ID"):
        Session.load(name)


def test_no_session_at_all_is_refused():
    with pytest.raises(Refused, match="No saved chat to resume"):
        Session.load()
    with pytest.raises(Refused, match="No saved chat to resume"):
        Session.load("latest")


def test_another_schema_is_not_read():
    session = talked()
    session.path.write_text('{"schema": "steprun.session/9"}\n')
    with pytest.raises(BadFile, match="made by a newer version") as error:
        Session.load(session.id)
    assert "Update steprun" in error.value.next
    session.path.write_text('{"schema": "other/1"}\n')
    with pytest.raises(BadFile, match="not a chat that this steprun can read"):
        Session.load(session.id)


def test_a_file_too_long_is_not_read():
    session = talked()
    with session.path.open("r+b") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(BadFile, match="not a chat"):
        Session.load(session.id)


def test_the_newest_is_the_last_used():
    first, second = talked(), talked()
    os.utime(first.path, (2_000_000_000, 2_000_000_000))
    os.utime(second.path, (1_000_000_000, 1_000_000_000))
    (sessions_dir() / "stray.jsonl").write_text("{}\n")
    assert list(list_sessions()) == [first.id, second.id]
    assert Session.load().id == first.id
    assert Session.load("latest").entries == first.entries


def test_the_newest_may_be_only_a_draft():
    saved, drafted, ended = talked(), Session.create("Step"), talked()
    drafted.save_draft("not sent")
    ended.save_draft("nor this")
    for path in (saved.path, ended.path):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    os.utime(ended.draft_path, (1_500_000_000, 1_500_000_000))
    assert list(list_sessions()) == [drafted.id, ended.id, saved.id]
    newest = Session.load("latest")
    draft = newest.draft()
    assert draft is not None
    assert (newest.id, draft.text) == (drafted.id, "not sent")


def test_what_cannot_be_resumed_is_not_the_newest():
    good, bad, other = talked(), talked(), Session.create("Step")
    bad.path.write_text('{"schema": "steprun.session/9"}\n')
    bad.save_draft("its draft alone would not open it")
    other.save_draft("x")
    other.draft_path.write_text('{"schema": "steprun.draft/9", "text": "x"}')
    (sessions_dir() / "stray.draft.json").write_text("{}")
    newer: list[str] = []
    assert list(list_sessions(newer)) == [good.id]
    assert newer == [bad.id]
    assert Session.load("latest").id == good.id
    good.path.unlink()
    with pytest.raises(Refused, match="No saved chat") as error:
        Session.load("latest")
    assert str(error.value).endswith("newer version of steprun, and skipped. Update steprun.")


def test_a_draft_is_loaded_with_its_pictures():
    session = talked()
    session.save_draft("half a thou", [picture("c.png", "blue")])
    draft = Session.load(session.id).draft()
    assert draft is not None
    assert (draft.text, draft.pictures[0].name) == ("half a thou", "c.png")
    session.drop_draft()
    assert session.draft() is None


def test_a_session_can_be_only_a_draft():
    session = Session.create("Step")
    session.save_draft("not sent")
    again = Session.load(session.id)
    assert again.entries == []
    assert again.draft() is not None


def test_two_chats_cannot_be_in_one_session():
    session = talked()
    session.claim()
    other = Session.load(session.id)
    with pytest.raises(InUse, match="open in another window"):
        other.claim()
    session.release()
    other.claim()
    other.release()


def test_a_folder_that_cannot_be_written_is_refused(home):
    (home / "data").write_text("a file in the way")
    with pytest.raises(Refused, match="cannot be written"):
        talked()


FIRST = Path(__file__).parents[2] / "data" / "sessions"


@pytest.mark.parametrize("path", sorted(FIRST.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_chat_of_format_1_is_continued_in_its_own_file(path):
    """The files are as version 0.1.0 wrote them: a finished chat, and one that it asked again."""
    sessions_dir().mkdir(parents=True)
    before = path.read_bytes()
    (sessions_dir() / path.name).write_bytes(before)
    session = Session.load(path.stem)
    assert not session.warnings
    texts = [entry.message.text for entry in session.entries]
    session.add(SessionEntry(Message("user", "And in format 2?")))
    session.add(SessionEntry(Message("assistant", "Here.")))
    again = Session.load(path.stem)
    assert not again.warnings
    assert [entry.message.text for entry in again.entries] == [*texts, "And in format 2?", "Here."]
    assert session.path.read_bytes().startswith(before)


def test_a_spoilt_first_line_loses_nothing_but_itself():
    session = talked()
    lines = session.path.read_bytes().split(b"\n")
    session.path.write_bytes(b"\n".join([b"\0spoilt", *lines[1:]]))
    again = Session.load()
    assert len(again.entries) == 2
    assert "Line 1 of the chat cannot be read" in again.warnings[0]


@pytest.mark.parametrize("length", [0, 1, 30, 60, 100])
def test_a_file_that_is_cut_in_its_first_line_opens_empty(length):
    session = talked()
    with session.path.open("r+b") as file:
        file.truncate(length)
    again = Session.load(session.id)
    assert again.entries == []
    again.add(SessionEntry(Message("user", "next")))
    assert [entry.message.text for entry in Session.load(session.id).entries] == ["next"]


def test_what_a_full_disk_took_in_part_is_taken_back(monkeypatch):
    session = talked()
    before = session.path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("runner.chat.sessions.store.os.fsync", full)
        with pytest.raises(Refused, match="cannot be written") as error:
            session.add(SessionEntry(Message("user", "next")))
    assert "Free some space" in error.value.next
    assert session.path.read_bytes() == before


def test_a_file_that_is_cut_at_any_byte_opens():
    session = talked()
    whole = session.path.read_bytes()
    for length in range(len(whole) + 1):
        session.path.write_bytes(whole[:length])
        again = Session.load(session.id)
        texts = [entry.message.text for entry in again.entries]
        assert texts == ["What is this?", "Red."][: len(texts)]


SPOILT = (b"", b"\0", b"{}", b"[]", b'{"x": 1}', b"\xff" * 9, b"[" * 9999)


@pytest.mark.parametrize("kind", range(len(SPOILT)))
def test_a_file_that_is_spoilt_in_any_line_opens(kind):
    for place in range(3):
        session = talked()
        lines = session.path.read_bytes().split(b"\n")
        lines[place] = SPOILT[kind]
        session.path.write_bytes(b"\n".join(lines))
        again = Session.load(session.id)
        assert len(again.entries) == (1 if place else 2)
        assert len(again.warnings) == bool(SPOILT[kind] or not place)
