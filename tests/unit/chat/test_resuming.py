"""The chat that is meant by an ID or by words of its title."""

import pytest

from runner.base.errors import Refused
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.resuming import chat_meant
from runner.chat.sessions.store import LATEST, Session
from runner.chat.wire import Message


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))


def saved(text):
    session = Session.create("Fake")
    session.add(SessionEntry(Message("user", text)))
    return session.id


def test_a_chat_is_meant_by_its_id_its_title_or_words_in_it():
    heron, other = saved("How do herons hunt in winter?"), saved("What is an Élan?")
    assert chat_meant(heron) == heron
    assert chat_meant("winter HERON") == heron
    assert chat_meant("elan") == other
    assert chat_meant(LATEST) == LATEST


def test_the_whole_title_is_meant_before_a_part_of_another():
    one = saved("Herons")
    saved("Herons in winter")
    assert chat_meant("herons") == one


def test_several_chats_are_named():
    chats = [saved(f"Herons in winter {n}") for n in range(7)]
    with pytest.raises(Refused, match="7 saved chats have 'heron' in their title") as caught:
        chat_meant("heron")
    assert "and 2 more" in caught.value.why
    assert any(chat in caught.value.next for chat in chats)


@pytest.mark.parametrize("typed", ["owl", "../../etc/passwd", " ", "***", "\0"])
def test_what_no_chat_has_is_refused(typed):
    saved("Herons")
    with pytest.raises(Refused, match="No saved chat has the ID or the title"):
        chat_meant(typed)


def test_an_id_that_is_not_there_is_refused_as_one():
    with pytest.raises(Refused, match="No saved chat has the ID '2026"):
        chat_meant("20260101-000000-0000")
