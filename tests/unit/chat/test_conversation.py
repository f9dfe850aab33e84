"""A conversation and the file that keeps it."""

import pytest

from runner.base.errors import Refused
from runner.chat.conversation import Conversation
from runner.chat.sessions.store import Session
from runner.chat.wire import Message


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return tmp_path


def test_a_chat_that_cannot_be_saved_goes_on_and_says_so_once(home):
    (home / "data").write_text("a file in the way")
    conversation = Conversation("x")
    [warning] = conversation.warnings
    assert "not being saved" in warning
    conversation.warnings.clear()
    turn = conversation.append("hi", ())
    assert conversation.save_question(turn, again=False) == [Message("user", "hi")]
    conversation.keep_draft("more", ())
    conversation.warnings.clear()
    conversation.save_answer(turn)
    conversation.keep_draft("and more", ())
    assert conversation.warnings == []
    assert not conversation.saved
    conversation.close()


def test_a_chat_that_can_only_be_read_goes_on(home, monkeypatch):
    Session.create("x").save_draft("not sent")

    def read_only(self):
        raise Refused("It cannot be written.")

    monkeypatch.setattr(Session, "claim", read_only)
    conversation = Conversation("x", "latest")
    assert conversation.draft is not None
    assert conversation.draft.text == "not sent"
    assert "It cannot be written." in conversation.warnings[0]


def test_a_chat_that_is_open_elsewhere_or_unknown_is_refused(home):
    with pytest.raises(Refused, match="No saved chat has the ID"):
        Conversation("x", "20260101-000000-0000")
    session = Session.create("x")
    session.save_draft("not sent")
    session.claim()
    with pytest.raises(Refused, match="open in another window"):
        Conversation("x", session.id)
    session.release()
