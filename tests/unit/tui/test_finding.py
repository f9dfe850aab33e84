"""Words found in a chat on the screen."""

import json

import pytest

from runner.chat.finding import find_in, needle
from runner.chat.sessions.entries import SessionEntry, answered
from runner.chat.sessions.store import Session
from runner.chat.steps import StepKind, TurnStep
from runner.chat.wire import Message
from runner.tui.found import locate
from tests.fakes.sse_server import End, Say
from tests.unit.tui.test_app import chat, user_home  # noqa: F401 - a fixture


def saved(*turns):
    """Save a chat of these turns: a question, the thinking, the answer."""
    session = Session.create("Fake 1B")
    for question, thinking, answer in turns:
        session.add(SessionEntry(Message("user", question)))
        steps = [TurnStep(StepKind.THINKING, thinking)] if thinking else []
        session.add(answered([*steps, TurnStep(StepKind.TEXT, answer)]))
    return session.id


def styled(c, *names):
    """Return the texts on the screen that are drawn in these ways."""
    return [
        segment.text
        for strip in c.app.screen._compositor.render_strips()
        for segment in strip
        if segment.style and all(getattr(segment.style, name) for name in names)
    ]


def marked(c):
    """Return the texts on the screen that are drawn as the hit that was gone to."""
    return styled(c, "reverse", "bold")


async def test_hits_are_walked_through_from_the_last_one():
    resume = saved(*((f"question {n}", "", f"The Élan of number {n}.") for n in range(60)))
    async with chat(resume=resume) as c:
        await c.pilot.press("ctrl+f", *"elan")
        await c.sees("60 of 60", "number 59")
        await c.until(lambda: marked(c) == ["Élan"])
        await c.pilot.press("enter")
        await c.sees("1 of 60", "number 0.")
        assert len(c.app.transcript.views) <= 60
        await c.pilot.press("f3")
        await c.sees("2 of 60", "number 1.")
        await c.pilot.press("up", "shift+f3")
        await c.sees("60 of 60", "number 59")
        await c.pilot.press(*" of number 30")
        await c.sees("1 of 1", "number 30.")
        await c.until(lambda: marked(c) == ["Élan of number 30"])
        await c.pilot.press("escape")
        await c.until(lambda: not marked(c))
        await c.pilot.press("x")
        assert c.app.composer.text == "x"


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
@pytest.mark.parametrize("shift", range(5))
async def test_a_phrase_that_is_broken_into_two_rows_is_marked(size, shift):
    text = "word " * (12 + shift) + "the end of the line is here. "
    async with chat(resume=saved(("hello", "", text * 2)), size=size) as c:
        await c.type("/find end of the line is here")
        await c.sees("2 of 2")
        phrase = "endofthelineishere"
        await c.until(lambda: "".join("".join(marked(c)).split()) == phrase)
        if size[1] > 10:  # both are in view
            await c.until(lambda: "".join("".join(styled(c, "underline")).split()) == phrase * 2)


async def test_a_hit_in_hidden_thinking_opens_it():
    resume = saved(("hello", "a secret thought", "fine"), ("bye", "", "ok"))
    async with chat(resume=resume) as c:
        assert "secret" not in c.screen()
        await c.type("/find secret")
        await c.sees("in hidden thinking, opened · 1 of 1", "a secret thought")
        await c.until(lambda: marked(c) == ["secret"])


async def test_what_is_not_there_is_said():
    async with chat(resume=saved(("hello", "", "fine"))) as c:
        await c.pilot.press("ctrl+f", *"zebra")
        await c.sees("not found")
        await c.pilot.press("enter", "ctrl+u", *"fin")
        await c.sees("1 of 1")


async def test_an_answer_that_arrives_is_counted():
    async with chat(
        [Say("apples "), Say("and apples"), End()], resume=saved(("a", "", "apples"))
    ) as c:
        await c.type("/find apples")
        await c.sees("1 of 1")
        await c.pilot.press("escape")
        await c.type("more")
        await c.ready()
        await c.pilot.press("f3")
        await c.sees("3 of 3")


@pytest.mark.parametrize(("paragraphs", "wanted"), [(3000, 1500), (1200, 600)])
async def test_a_hit_is_located_in_a_long_answer(paragraphs, wanted):
    """And stays in view while the rest of the answer is laid out."""
    answer = "\n\n".join(f"Paragraph {n} says *number {n}*." for n in range(paragraphs))
    async with chat(resume=saved(("long", "", answer))) as c:
        await c.type(f"/find says number {wanted}.")
        await c.until(lambda: "".join(marked(c)) == f"says number {wanted}.")
        await c.until(lambda: all(view.settled for view in c.app.transcript.views))
        assert "".join(marked(c)) == f"says number {wanted}."


async def test_where_the_screen_shows_another_text_the_row_is_near():
    answer = "\n\n".join([*(["line"] * 50), r"$\alpha$", *(["line"] * 50)])
    async with chat(resume=saved(("math", "", answer))) as c:
        wanted = needle("alpha")
        assert wanted is not None
        (hit,) = find_in(c.app.conversation.turns, wanted)
        (view,) = c.app.transcript.views
        await c.until(lambda: view.settled)
        row, here = locate(view.parts, hit, wanted)
        assert not here
        assert abs(row - 100) < 15


async def test_a_chat_of_a_file_is_opened(tmp_path):
    resume = saved(("hello", "hm", "fine"))
    path = tmp_path / "chat.json"
    async with chat(resume=resume) as c:
        await c.type(f"/save {path}")
        await c.sees("Saved to")
        await c.type(f"/open {path}")
        await c.sees("Resumed the chat", "hello", "fine")
        assert c.app.conversation.session.id != resume
        path.write_text("{}")
        await c.type(f"/open {path}")
        await c.sees("is not a chat that can be opened")
        assert c.app.composer.text == f"/open {path}"
        look = {"text": "look", "pictures": [{"name": "cat.png", "data": "AAAA"}]}
        document = {"schema": "steprun.conversation/1", "turns": [look]}
        path.write_text(json.dumps(document))
        await c.pilot.press("enter")
        await c.sees("look", "The image 'cat.png' of chat.json cannot be used")
