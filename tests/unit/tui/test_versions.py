"""Versions of answers and messages: asked again, edited, and walked through."""

from functools import partial

import pytest

from runner.base.errors import SteprunError
from runner.chat.conversation import Conversation
from tests.fakes.sse_server import End, Gate, Refuse, Say, Step, Think
from tests.unit.tui.test_app import chat, picture


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def says(*texts: str) -> list[list[Step]]:
    return [[Say(text), End()] for text in texts]


async def test_an_answer_asked_again_is_a_version_that_keys_commands_and_clicks_reach():
    async with chat(*says("Answer A.", "Answer B.", "Answer C.")) as c:
        await c.type("hi")
        await c.sees("Answer A.")
        await c.ready()
        assert "1/1" not in c.screen()
        for text in ("Answer B.", "Answer C."):
            await c.type("/retry")
            await c.sees(text)
            await c.ready()
        await c.sees("‹ 3/3 ›")  # noqa: RUF001
        await c.pilot.press("alt+left")
        await c.sees("‹ 2/3 ›", "Answer B.")  # noqa: RUF001
        await c.type("/earlier")
        await c.sees("‹ 1/3 ›", "Answer A.")  # noqa: RUF001
        await c.pilot.press("alt+left")
        await c.sees("No earlier version.")
        await c.click("›")  # noqa: RUF001
        await c.sees("‹ 2/3 ›", "Answer B.")  # noqa: RUF001
        await c.type("/later")
        await c.sees("‹ 3/3 ›", "Answer C.")  # noqa: RUF001
        await c.click("‹")  # noqa: RUF001
        await c.sees("‹ 2/3 ›")  # noqa: RUF001
        session = c.app.conversation.session.id
    resumed = Conversation("Fake 1B", session)
    assert [turn.answer for turn in resumed.turns] == ["Answer B."]
    resumed.close()


async def test_the_last_message_is_edited_and_both_stay(tmp_path):
    async with chat(*says("First.", "Answer A.", "Answer B.")) as c:
        await c.type("one")
        await c.sees("First.")
        await c.ready()
        await c.paste(str(picture(tmp_path)))
        await c.sees("[Image #1]")
        await c.type("whut is it?")
        await c.sees("Answer A.")
        await c.ready()
        await c.type("/edit")
        await c.sees("Editing the message · Esc leaves it")
        assert c.app.composer.text == "whut is it?"
        assert len(c.app.composer.pictures) == 1
        c.app.composer.prompt.text = "What is it?"
        await c.pilot.press("enter")
        await c.sees("Answer B.", "What is it?", "‹ 2/2 ›")  # noqa: RUF001
        await c.ready()
        assert "Editing" not in c.screen()
        assert "whut" not in c.screen()
        assert [len(each["messages"]) for each in c.server.requests] == [1, 3, 3]
        await c.pilot.press("alt+left")
        await c.sees("Answer A.", "whut is it?", "‹ 1/2 ›")  # noqa: RUF001


async def test_esc_leaves_a_message_as_it_is_and_keeps_what_was_changed():
    gate = Gate()
    async with chat(*says("Answer."), [gate, End()]) as c:
        await c.type("/edit")
        await c.sees("No message to edit.")
        await c.type("hi")
        await c.sees("Answer.")
        await c.ready()
        await c.type("/edit")
        await c.sees("Editing")
        await c.pilot.press("escape")
        await c.gone("Editing")
        assert c.app.composer.empty
        await c.type("/edit")
        await c.sees("Editing")
        await c.pilot.press("x", "escape")
        await c.gone("Editing")
        assert c.app.composer.text == "hix"
        await c.pilot.press("enter")
        await c.until(lambda: c.app.busy)
        assert [turn.text for turn in c.app.conversation.turns] == ["hi", "hix"]
        for command in ("/edit", "/earlier", "/later"):
            c.app.hint("")
            await c.type(command)
            await c.sees("Still answering: Esc stops it.")
        gate.open()


async def test_an_edited_message_that_fails_is_given_back():
    async with chat(*says("Answer."), [Refuse(400, "No.")], *says("Fine.")) as c:
        await c.type("hi")
        await c.sees("Answer.")
        await c.ready()
        await c.type("/edit")
        await c.sees("Editing")
        await c.pilot.press("x")
        await c.pilot.press("enter")
        await c.until(lambda: c.app.composer.text == "hix")
        await c.sees("Editing", "Answer.", "No.")
        await c.pilot.press("y", "enter")
        await c.sees("Fine.", "hixy")
        await c.ready()
        assert [turn.text for turn in c.app.conversation.turns] == ["hixy"]


async def test_an_edited_message_comes_back_where_the_engine_is_gone():
    async with chat(*says("Answer.")) as c:
        await c.type("hi")
        await c.sees("Answer.")
        await c.ready()
        c.hosts.opened[0].dead = c.hosts.dies_loading = SteprunError("The engine was killed.")
        await c.type("/edit")
        await c.sees("Editing")
        await c.pilot.press("x", "enter")
        await c.sees("The engine was killed.", "Answer.", "Editing")
        assert c.app.composer.text == "hix"
        assert [turn.text for turn in c.app.conversation.turns] == ["hi"]


async def test_the_first_answer_is_no_version_while_it_arrives():
    gate = Gate()
    async with chat([Think("Hm."), Say("A part"), gate, End()]) as c:
        await c.type("hi")
        await c.sees("A part", "thought · 1 token")
        assert c.app.conversation.siblings(c.turn) == (1, 1)
        assert "2/2" not in c.screen()
        assert "1 tokens" not in c.screen()
        gate.open()


def _asked(c, count):
    return len(c.server.requests) == count


async def test_attempts_of_which_nothing_arrived_are_no_versions():
    async with chat([Refuse(400, "No.")], [Refuse(400, "No.")], *says("Fine.")) as c:
        for count, typed in enumerate(("hi", "/retry", "/retry"), 1):
            await c.type(typed)
            await c.until(partial(_asked, c, count))
            await c.ready()
            assert c.app.conversation.siblings(c.turn) == (1, 1)
        await c.sees("Fine.")
