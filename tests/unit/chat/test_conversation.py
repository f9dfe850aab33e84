"""A conversation and the file that keeps it."""

import pytest

from runner.base.errors import BadFile, Refused
from runner.chat.conversation import Conversation
from runner.chat.sessions.store import Session, SessionEntry, sessions_dir
from runner.chat.wire import Message


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return tmp_path


def test_a_chat_that_cannot_be_saved_continues_with_one_warning(home):
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


def test_a_chat_that_can_only_be_read_continues(home, monkeypatch):
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


def test_the_last_turn_of_the_chat_before_is_read(home, monkeypatch):
    first = Conversation("x")
    turn = first.append("a", ())
    first.save_question(turn, again=False)
    claim = Session.claim

    def claim_when_it_is_free(self):
        turn.answer = "one"
        first.save_answer(turn)
        first.close()
        claim(self)

    monkeypatch.setattr(Session, "claim", claim_when_it_is_free)
    second = Conversation("x", first.session.id)
    assert [turn.answer for turn in second.turns] == ["one"]
    second.close()


def test_an_answer_is_not_saved_without_its_question(home, monkeypatch):
    conversation = Conversation("x")
    for text, fits in (("a", True), ("b", False), ("c", True)):
        with monkeypatch.context() as patch:
            if not fits:
                patch.setattr("runner.chat.sessions.store.FILE_BYTES", 10)
            turn = conversation.append(text, ())
            conversation.save_question(turn, again=False)
        turn.answer = f"to {text}"
        conversation.save_answer(turn)
    conversation.close()
    saved = [(turn.text, turn.answer) for turn in Conversation("x", "latest").turns]
    assert saved == [("a", "to a"), ("c", "to c")]


def test_the_lock_of_a_chat_outlives_it_only_if_it_is_saved(home):
    nothing, saved = Conversation("x"), Conversation("x")
    saved.save_question(saved.append("a", ()), again=False)
    for conversation in (nothing, saved):
        conversation.close()
    locks = [path.stem for path in sessions_dir().glob("*.lock")]
    assert locks == [saved.session.id]


def test_a_damaged_chat_is_released(home):
    session = Session.create("x")
    session.add(SessionEntry(Message("user", "a")))
    session.path.write_bytes(b"\0" * 100)
    with pytest.raises(BadFile, match="not a header"):
        Conversation("x", session.id)
    session.claim()
    session.release()
