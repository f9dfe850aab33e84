"""A conversation, its branches, and the files that keep it."""

import errno
import hashlib
import os
import threading

import pytest

from runner.base.errors import BadFile, Refused, SteprunError
from runner.chat.conversation import Conversation
from runner.chat.events import Failed, Finished, Reasoning, Text
from runner.chat.sessions.entries import Draft, SessionEntry
from runner.chat.sessions.index import list_chats
from runner.chat.sessions.store import Session, sessions_dir
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Message, Picture


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def full():
    """A disk that is full until the fixture is called."""
    # A patch of its own: to undo the test's would take its home away, too.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.base.files.os.fsync", _no_space)
        yield patch.undo


def _no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def begun(conversation: Conversation, turn: Turn, *pieces: str) -> Turn:
    """Ask a turn and let a part of its answer arrive."""
    turn.begin()
    conversation.asked(turn)
    conversation.flush()
    for piece in pieces:
        turn.apply(Text(piece), 1.0)
        conversation.growing(turn)
        conversation.flush()
    return turn


def finished(conversation: Conversation, turn: Turn, answer: str) -> Turn:
    """Ask a turn and let it be answered; return the turn that stands in its place."""
    begun(conversation, turn, answer).apply(Finished("stop"), 2.0)
    stands = conversation.ended(turn)
    conversation.flush()
    return stands


def failed(conversation: Conversation, turn: Turn, *pieces: str) -> Turn:
    begun(conversation, turn, *pieces).apply(Failed(SteprunError("It broke.")), 2.0)
    stands = conversation.ended(turn)
    conversation.flush()
    return stands


def talked(conversation: Conversation, *questions: str) -> list[Turn]:
    return [
        finished(conversation, conversation.append(text, ()), f"to {text}") for text in questions
    ]


def killed(conversation: Conversation) -> Conversation:
    """Open the chat as the next program finds it where this one was killed."""
    conversation.session.release()
    return Conversation("x", conversation.session.id)


def texts(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.text, turn.answer) for turn in conversation.turns]


# --- saving -------------------------------------------------------------------------------------


def test_a_chat_that_cannot_be_saved_continues_with_one_warning(home):
    (home / "data").write_text("a file in the way")
    conversation = Conversation("x")
    [warning] = conversation.warnings
    assert "not being saved" in warning
    conversation.warnings.clear()
    turn = conversation.append("hi", ())
    assert conversation.asked(turn) == [Message("user", "hi")]
    conversation.keep_draft("more", ())
    assert not conversation.flush()
    conversation.warnings.clear()
    turn.apply(Text("yes"), 1.0)
    conversation.ended(turn)
    conversation.keep_draft("and more", ())
    assert not conversation.flush()
    assert conversation.warnings == []
    assert not conversation.saved
    conversation.close()


def test_a_chat_that_can_only_be_read_continues(home, monkeypatch):
    Session.create("x").save_draft("not sent")

    def read_only(self):
        raise Refused("It cannot be written.")

    monkeypatch.setattr(Session, "claim", read_only)
    conversation = Conversation("x", "latest")
    assert conversation.draft == Draft("not sent")
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
    turn = begun(first, first.append("a", ()))
    claim = Session.claim

    def claim_when_it_is_free(self):
        turn.apply(Text("one"), 1.0)
        first.ended(turn)
        first.close()
        claim(self)

    monkeypatch.setattr(Session, "claim", claim_when_it_is_free)
    second = Conversation("x", first.session.id)
    assert texts(second) == [("a", "one")]
    second.close()


def test_the_lock_of_a_chat_outlives_it_only_if_it_is_saved(home):
    nothing, saved = Conversation("x"), Conversation("x")
    saved.asked(saved.append("a", ()))
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


def test_a_chat_of_a_newer_version_is_named_where_the_last_one_is_resumed(home):
    old, new = Session.create("x"), Session.create("x")
    for session in (old, new):
        session.add(SessionEntry(Message("user", "a")))
    new.path.write_text('{"schema": "steprun.session/9"}\n')
    os.utime(old.path, (1_000_000_000, 1_000_000_000))
    conversation = Conversation("x", "latest")
    assert conversation.session.id == old.id
    [warning] = conversation.warnings
    assert warning == (
        f"The chat {new.id} was made by a newer version of steprun, and skipped. "
        "Update steprun to resume it."
    )
    conversation.close()


# --- a program that is killed -------------------------------------------------------------------


def test_a_resumed_chat_sends_what_was_sent(home):
    chat = Conversation("Fake")
    turn = begun(chat, chat.append("\x1b[31mred\x1b[0m\r\nblue", ()), "Fine.")
    turn.apply(Finished("stop"), 2.0)
    chat.ended(turn)
    sent = chat.messages()
    chat.close()
    resumed = Conversation("Fake", chat.session.id)
    resumed.append("and now?", ())
    assert resumed.messages()[0] == sent[0], "else the engine reads all of it again"
    resumed.close()


def test_a_killed_chat_keeps_the_part_of_the_answer_that_arrived(home):
    conversation = Conversation("x")
    talked(conversation, "a")
    begun(conversation, conversation.append("b", ()), "one ", "two")
    again = killed(conversation)
    assert texts(again) == [("a", "to a"), ("b", "one two")]
    assert again.turns[-1].phase is TurnState.CUT
    assert "the program ended before the answer did" in again.turns[-1].note()
    assert "stopped" not in again.turns[-1].note()
    finished(again, again.append("c", ()), "to c")
    last = killed(again)
    assert texts(last) == [("a", "to a"), ("b", "one two"), ("c", "to c")]
    assert last.turns[1].phase is TurnState.CUT
    assert not list(sessions_dir().glob("*.part.jsonl"))


def test_an_answer_is_not_written_over_and_over(home):
    conversation = Conversation("x")
    turn = begun(conversation, conversation.append("a", ()))
    for _ in range(100):
        turn.apply(Text("x" * 100), 1.0)
        conversation.growing(turn)
        conversation.flush()
    assert conversation.session.part_path.stat().st_size < 10_000 + 100 * 120
    assert conversation.session.part_path.stat().st_mode & 0o777 == 0o600


def test_the_part_of_another_answer_to_a_question_is_kept_beside_the_first(home):
    conversation = Conversation("x")
    [turn] = talked(conversation, "a")
    begun(conversation, conversation.regenerate(turn), "another")
    again = killed(conversation)
    assert texts(again) == [("a", "another")]
    assert again.siblings(again.turns[0]) == (2, 2)
    assert again.switch(again.turns[0], -1).answer == "to a"


def test_a_draft_is_kept_and_goes_only_after_the_question_is_saved(home):
    conversation = Conversation("x")
    conversation.keep_draft("half a thou", ())
    assert conversation.flush()
    assert killed(conversation).draft == Draft("half a thou")
    turn = conversation.append("half a thought", ())
    conversation.keep_draft("", ())
    conversation.asked(turn)
    conversation.flush()
    again = killed(conversation)
    assert again.draft is None
    assert [turn.text for turn in again.turns] == ["half a thought"]


def test_a_question_that_waits_for_the_engine_is_in_the_draft_before_what_is_typed(home):
    conversation = Conversation("x")
    talked(conversation, "a")
    turn = conversation.append("b", ())
    conversation.keep_draft("", ())
    conversation.flush()
    assert killed(conversation).draft == Draft("b")
    conversation.keep_draft("c", ())
    conversation.flush()
    assert killed(conversation).draft == Draft("b\nc")
    conversation.asked(turn)
    conversation.flush()
    assert killed(conversation).draft == Draft("c")


# --- a full disk --------------------------------------------------------------------------------


def test_a_full_disk_is_said_at_once_with_what_helps(home, full):
    conversation = Conversation("x")
    conversation.warnings.clear()
    conversation.keep_draft("half a thought", ())
    assert not conversation.flush()
    [warning] = conversation.warnings
    assert "No space left on device" in warning
    assert "Free some space" in warning
    assert conversation.trouble is not None
    assert conversation.draft_path is None


def test_nothing_is_lost_where_a_disk_was_full_for_a_while(home, full):
    conversation = Conversation("x")
    talked(conversation, "a")
    turn = begun(conversation, conversation.append("b", ()), "a part")
    conversation.keep_draft("not sent", ())
    assert not conversation.flush()
    conversation.warnings.clear()
    full()  # not any more
    assert conversation.flush()
    assert conversation.warnings == ["This chat is being saved again; nothing is lost."]
    assert conversation.trouble is None
    again = killed(conversation)
    assert texts(again) == [("a", "to a"), ("b", "a part")]
    assert again.draft == Draft("not sent")
    assert turn.answer == "a part"


def test_a_question_that_is_not_saved_stays_a_draft(home, monkeypatch):
    conversation = Conversation("x")
    conversation.keep_draft("my question", ())
    conversation.flush()
    monkeypatch.setattr("runner.chat.sessions.store.os.fsync", _no_space)
    conversation.asked(conversation.append("my question", ()))
    conversation.keep_draft("", ())
    assert not conversation.flush()
    assert killed(conversation).draft == Draft("my question")


# --- versions -----------------------------------------------------------------------------------


def test_a_retry_that_fails_takes_no_answer_away(home):
    conversation = Conversation("x")
    [_, turn] = talked(conversation, "a", "b")
    stands = failed(conversation, conversation.regenerate(turn))
    assert stands is turn
    assert conversation.turns[-1] is turn
    assert conversation.siblings(turn) == (1, 1)
    stands = failed(conversation, conversation.regenerate(turn), "a pa")
    assert stands is turn
    assert conversation.siblings(turn) == (1, 2)
    again = killed(conversation)
    assert texts(again) == [("a", "to a"), ("b", "to b")]
    assert again.switch(again.turns[1], 1).answer == "a pa"


def test_a_better_answer_stands_and_the_first_is_kept(home):
    conversation = Conversation("x")
    turn = failed(conversation, conversation.append("a", ()), "a pa")
    better = finished(conversation, conversation.regenerate(turn), "an answer")
    assert conversation.turns == [better]
    again = killed(conversation)
    assert texts(again) == [("a", "an answer")]
    assert again.siblings(again.turns[0]) == (2, 2)
    assert again.switch(again.turns[0], -1).phase is TurnState.FAILED


def test_a_retry_that_was_stopped_with_a_part_stands(home):
    conversation = Conversation("x")
    [turn] = talked(conversation, "a")
    again = begun(conversation, conversation.regenerate(turn), "a part")
    again.stop()
    assert conversation.ended(again) is again
    nothing = begun(conversation, conversation.regenerate(again))
    nothing.stop()
    assert conversation.ended(nothing) is again


def test_a_retry_that_was_not_sent_is_taken_back(home):
    conversation = Conversation("x")
    first, second = talked(conversation, "a", "b")
    conversation.withdraw(conversation.regenerate(first))
    assert conversation.turns == [first, second]
    conversation.withdraw(conversation.append("c", ()))
    assert conversation.turns == [first, second]


def test_edited_questions_are_versions_with_what_follows_them(home):
    conversation = Conversation("x")
    first, second, third = talked(conversation, "a", "b", "c")
    edited = finished(conversation, conversation.edit(second, "B", ()), "to B")
    assert conversation.turns == [first, edited]
    assert conversation.siblings(edited) == (2, 2)
    assert conversation.siblings(first) == (1, 1)
    sent = conversation.asked(conversation.append("d", ()))
    assert [message.text for message in sent] == ["a", "to a", "B", "to B", "d"]
    assert conversation.switch(edited, -1) is second
    assert conversation.turns == [first, second, third]
    assert conversation.switch(second, -1) is second
    conversation.flush()
    again = killed(conversation)
    assert texts(again) == texts(conversation)
    back = again.switch(again.turns[1], 5)
    assert [turn.text for turn in again.turns] == ["a", "B", "d"]
    assert again.siblings(back) == (2, 2)


def test_the_first_question_is_edited(home):
    conversation = Conversation("x")
    [turn] = talked(conversation, "a")
    new = conversation.edit(turn, "A", ())
    assert conversation.siblings(new) == (2, 2)
    finished(conversation, new, "to A")
    assert texts(killed(conversation)) == [("A", "to A")]


def test_another_chat_begins_with_nothing(home):
    conversation = Conversation("x")
    talked(conversation, "a")
    conversation.start_new()
    talked(conversation, "b")
    assert texts(killed(conversation)) == [("b", "to b")]
    assert [chat.title for chat in list_chats()] == ["b", "a"]


def test_a_chat_of_format_1_is_asked_again_and_edited(home):
    session = Session("20261001-090000-0a1b2c3d", "x")
    sessions_dir().mkdir(parents=True)
    session.path.write_text(
        '{"schema": "steprun.session/1", "title": "x"}\n'
        '{"role": "user", "text": "a", "at": "1"}\n{"role": "assistant", "text": "A", "at": "2"}\n'
    )
    conversation = Conversation("x", session.id)
    finished(conversation, conversation.regenerate(conversation.turns[0]), "another A")
    finished(conversation, conversation.append("b", ()), "B")
    again = killed(conversation)
    assert texts(again) == [("a", "another A"), ("b", "B")]
    assert again.switch(again.turns[0], -1).answer == "A"
    assert len(again.turns) == 1


# --- threads ------------------------------------------------------------------------------------


def test_a_picture_is_hashed_once_and_only_where_the_disk_is_written(home, monkeypatch):
    hashed = []

    def watched(data):
        hashed.append(threading.current_thread())
        return sha256(data)

    sha256 = hashlib.sha256
    monkeypatch.setattr("runner.chat.sessions.pictures.hashlib.sha256", watched)
    conversation = Conversation("x")
    picture = Picture("a.png", "image/png", b"x" * 1000, 10, 10, 4)
    conversation.keep_draft("what", [picture])
    conversation.keep_draft("what is", [picture])
    turn = conversation.append("what is it", (picture,))
    conversation.asked(turn)
    assert not hashed
    writer = threading.Thread(target=conversation.flush)
    writer.start()
    writer.join()
    conversation.keep_draft("and", [picture])
    conversation.flush()
    assert hashed == [writer]


def test_typing_and_answers_while_the_disk_is_written_lose_nothing(home):
    conversation = Conversation("x")
    done = threading.Event()

    def writes():
        while not done.is_set():
            conversation.flush()

    writer = threading.Thread(target=writes)
    writer.start()
    try:
        for number in range(60):
            turn = conversation.append(f"q{number}", ())
            turn.begin()
            conversation.asked(turn)
            for piece in range(5):
                turn.apply((Reasoning if piece < 2 else Text)(f"{piece} "), 1.0)
                conversation.growing(turn)
                conversation.keep_draft(f"draft {number} {piece}", ())
            turn.apply(Finished("stop"), 1.0)
            conversation.ended(turn)
    finally:
        done.set()
        writer.join()
    conversation.close()
    again = killed(conversation)
    assert texts(again) == [(f"q{number}", "2 3 4 ") for number in range(60)]
    assert again.draft == Draft("draft 59 4")
    assert not again.warnings
