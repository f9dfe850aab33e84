"""What the chat keeps as it happens: typing, growing answers, earlier answers, a full disk."""

import errno
import os
from collections.abc import Sequence

import pytest

from runner.base.errors import SteprunError
from runner.chat.conversation import Conversation
from runner.chat.turn import TurnState
from tests.fakes.sse_server import Die, End, Gate, Refuse, Say, Step, Think
from tests.unit.tui.test_app import chat, picture

FINE: Sequence[Step] = (Say("A good answer."), End())


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_typing_without_a_pause_is_saved_while_it_goes_on():
    async with chat() as c:
        session = c.app.conversation.session
        typed = 0
        while not session.draft_path.is_file():  # a pause would be longer than between two keys
            await c.pilot.press("x")
            typed += 1
            assert typed < 2000
        draft = session.draft()
        assert draft is not None
        assert set(draft.text) == {"x"}


async def test_an_answer_is_saved_while_it_grows():
    gate = Gate()
    async with chat([Think("Let me see."), Say("A part "), Say("of it."), gate, End()]) as c:
        await c.type("hi")
        await c.sees("A part of it.")
        session = c.app.conversation.session
        await c.until(lambda: (part := session.part()) and part.message.text == "A part of it.")
        part = session.part()
        assert part is not None
        assert part.message.reasoning == "Let me see."
        gate.open()
        await c.ready()
        await c.until(lambda: not session.part_path.exists())


async def test_a_chat_that_was_cut_off_says_so():
    begun = Conversation("Fake 1B")
    turn = begun.append("hi", ())
    begun.asked(turn)
    begun.flush()
    begun.session.release()
    async with chat(resume=begun.session.id) as c:
        await c.sees("Cut off: the program ended before the answer did.", "/retry")
        assert "stopped" not in c.screen()
        await c.type("/retry")
        await c.sees("Fine, thank you.")
        await c.gone("Cut off")


@pytest.mark.parametrize("fails", [[Refuse(500, "out of luck")], [Say("An"), Die()]])
async def test_a_retry_that_fails_leaves_the_answer_where_it_is(fails):
    async with chat(FINE, fails, FINE) as c:
        await c.type("hi")
        await c.sees("A good answer.")
        await c.ready()
        first = c.turn
        await c.type("/retry")
        await c.until(lambda: len(c.server.requests) == 2)
        await c.ready()
        await c.sees("A good answer.", "The earlier answer stands; /retry asks again.")
        assert c.app.conversation.turns == [first]
        await c.type("/retry")
        await c.until(lambda: len(c.server.requests) == 3)
        await c.ready()
        await c.gone("The earlier answer stands")
        assert c.app.conversation.turns != [first]
        assert c.turn.phase is TurnState.DONE
    again = Conversation("Fake 1B", c.app.conversation.session.id)
    versions = again.siblings(again.turns[0])
    assert versions == (versions[1], 2 + (len(fails) > 1))
    assert again.switch(again.turns[0], -9).answer == "A good answer."
    again.close()


async def test_an_engine_that_is_gone_takes_no_answer_away():
    async with chat(FINE) as c:
        await c.type("hi")
        await c.sees("A good answer.")
        await c.ready()
        c.hosts.opened[0].dead = c.hosts.dies_loading = SteprunError("The engine was killed.")
        await c.type("/retry")
        await c.sees("The engine was killed.", "A good answer.")
        assert c.turn.answer == "A good answer."
        c.hosts.dies_loading = None
        await c.type("/retry")
        await c.sees("Fine, thank you.")


async def test_a_full_disk_is_said_while_one_types_and_at_the_end(monkeypatch):
    async with chat() as c:
        monkeypatch.setattr(os, "fsync", full)
        await c.type("half a thought", "space")
        await c.reads("not being saved", "No space left on device", "Free some space")
        await c.pilot.press("ctrl+q")
    [line] = c.app.farewell
    assert "This chat is not saved whole." in line
    assert "Free some space" in line


async def test_a_disk_that_has_room_again_gets_all_of_it(monkeypatch):
    async with chat(FINE) as c:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            await c.type("hi")
            await c.reads("A good answer.", "No space left on device")
            await c.ready()
            await c.type("more", "space")
        await c.sees("This chat is being saved again")
    again = Conversation("Fake 1B", c.app.conversation.session.id)
    assert [(turn.text, turn.answer) for turn in again.turns] == [("hi", "A good answer.")]
    assert again.draft is not None
    assert again.draft.text.startswith("more")
    again.close()


async def test_a_picture_is_stored_as_soon_as_it_is_attached(tmp_path):
    async with chat() as c:
        await c.paste(str(picture(tmp_path)))
        await c.sees("[Image #1]")
        folder = c.app.conversation.session.path.parent / "pictures"
        await c.until(lambda: folder.is_dir() and list(folder.glob("*.png")))
        await c.until(lambda: c.app.conversation.draft_path is not None)


async def test_a_picture_of_the_command_line_alone_is_no_unsent_text(tmp_path):
    async with chat(pictures=(picture(tmp_path),)) as c:
        await c.sees("[Image #1]")
        c.app.unsent.keep()
        c.app.conversation.flush()
        assert c.app.conversation.draft_path is None
        await c.pilot.press("w")
        c.app.unsent.keep()
        c.app.conversation.flush()
        assert c.app.conversation.draft_path is not None
        draft = c.app.conversation.session.draft()
        assert draft is not None
        assert (draft.text, len(draft.pictures)) == ("w", 1)


async def test_an_edited_question_and_a_switch_show_the_branch_that_stands():
    scripts: list[list[Step]] = [[Say(f"Answer {n}."), End()] for n in range(4)]
    async with chat(*scripts) as c:
        for n in range(3):
            await c.type(f"question {n}")
            await c.sees(f"Answer {n}.")
            await c.ready()
        talk, chats = c.app, c.app.conversation
        second = chats.turns[1]
        edited = chats.edit(second, "edited", ())
        await talk.show_branch()
        await talk.ask(edited)
        await c.sees("question 0", "edited", "Answer 3.")
        await c.ready()
        assert "question 2" not in c.screen()
        assert chats.siblings(edited) == (2, 2)
        chats.switch(edited, -1)
        await talk.show_branch()
        await c.sees("question 0", "question 1", "question 2")
        assert "edited" not in c.screen()


async def test_an_earlier_turn_is_asked_again_and_taken_back_where_it_was_not_sent():
    async with chat(FINE, FINE) as c:
        for text in ("first", "second"):
            await c.type(text)
            await c.sees(text)
            await c.ready()
        turns = list(c.app.conversation.turns)
        c.hosts.opened[0].dead = c.hosts.dies_loading = SteprunError("The engine was killed.")
        await c.app.ask(turns[0], again=True)
        await c.sees("The engine was killed.", "first", "second")
        assert c.app.conversation.turns == turns
