"""The thinking ended at once, capped, and answers that broke off continued, under the pilot."""

import pytest

from runner.chat.dialect import OPENAI
from runner.chat.steps import StepKind
from runner.chat.turn import TurnState
from runner.chat.wire import Options
from tests.fakes.sse_server import ANSWER_ID, Call, Die, End, Gate, Refuse, Say, Step, Think
from tests.unit.tui.test_app import chat, user_home  # noqa: F401 - a fixture

OTHER = Options(dialect=OPENAI)
CLOSED = {"continue_final_message": "content", "add_generation_prompt": False}
OPEN = {"continue_final_message": "reasoning_content", "add_generation_prompt": False}


def sent(c, number=-1):
    body = c.server.requests[number]
    fields = {name: body.get(name) for name in CLOSED if name in body}
    return body["messages"][-1], fields


def versions(c):
    return c.app.conversation.siblings(c.turn)


# --- answer now -------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", ["command", "key"])
async def test_the_thinking_is_ended_and_the_answer_follows(keys):
    gate = Gate()
    async with chat([Think("so much"), gate, Say("Blue."), End()]) as c:
        c.server.controlled = gate
        await c.type("which color?")
        await c.sees("thinking", "Alt+A answers now")
        if keys == "key":
            await c.pilot.press("alt+a")
        else:
            await c.type("/answer")
        await c.sees("Blue.")
        await c.ready()
        assert "answers now" not in c.screen()
        assert c.server.controls == [{"id": ANSWER_ID, "action": "reasoning_end"}]
        assert c.server.requests[0]["reasoning_control"] is True
        assert len(c.server.requests) == 1
        assert versions(c) == (1, 1)


async def test_what_is_still_thought_in_the_answer_after_that_is_told_apart():
    gate = Gate()
    words = (Say("and also"), Say(" this\n</think>\n"), Say("Blue."))
    async with chat([Think("so much"), gate, *words, End()]) as c:
        c.server.controlled = gate
        await c.type("which color?")
        await c.sees("thinking")
        await c.pilot.press("alt+a")
        await c.until(lambda: c.turn.answer == "Blue.")
        assert "and also this" in c.turn.reasoning


async def test_a_server_that_cannot_end_it_is_stopped_and_asked_with_the_thinking_closed():
    gate = Gate()
    async with chat([Think("so much"), gate], [Say("Blue."), End()]) as c:
        await c.type("which color?")
        await c.sees("thinking")
        await c.pilot.press("alt+a")
        await c.sees("Blue.")
        await c.ready()
        message = {"role": "assistant", "content": "", "reasoning_content": "so much"}
        assert sent(c) == (message, CLOSED)
        assert (c.turn.reasoning, c.turn.answer) == ("so much", "Blue.")
        assert versions(c) == (1, 1), "what was stopped is the beginning of what stands"
        gate.open()


async def test_of_a_server_that_can_do_neither_it_is_said():
    gate = Gate()
    async with chat([Think("so much"), gate, Say("Blue."), End()], options=OTHER) as c:
        await c.type("which color?")
        await c.sees("thinking")
        await c.pilot.press("alt+a")
        await c.sees("cannot be told to answer now")
        assert "Alt+A" not in c.screen()
        assert not c.server.controls
        assert "reasoning_control" not in c.server.requests[0]
        gate.open()
        await c.sees("Blue.")


async def test_there_is_nothing_to_end():
    gate = Gate()
    async with chat([gate, Say("Blue."), gate, End()]) as c:
        await c.pilot.press("alt+a")
        await c.sees("Nothing is being thought.")
        await c.type("hi")
        await c.until(lambda: c.app.busy)
        await c.pilot.press("alt+a")
        await c.sees("It does not think yet.")
        gate.open()


# --- thinking alone ---------------------------------------------------------------------------


async def test_thinking_alone_is_said_and_enter_has_it_answer():
    async with chat([Think("so much"), End("stop", 20, 2)], [Say("Blue."), End()]) as c:
        await c.type("which color?")
        await c.reads("without an answer", "Enter, with nothing typed, has it answer")
        await c.pilot.press("enter")
        await c.sees("Blue.")
        await c.ready()
        message = {"role": "assistant", "content": "", "reasoning_content": "so much"}
        assert sent(c) == (message, CLOSED)
        assert [step.kind for step in c.turn.steps] == [StepKind.THINKING, StepKind.TEXT]
        assert versions(c) == (1, 1)
        await c.pilot.press("enter")
        await c.pilot.pause(0.05)
        assert len(c.server.requests) == 2, "the answer is whole: Enter does nothing"


async def test_thinking_that_used_up_the_tokens_goes_on_where_it_was():
    async with chat([Think("so "), End("length")], [Think("much"), Say("Blue."), End()]) as c:
        await c.type("which color?")
        await c.reads("lets it continue; /answer has it answer now")
        await c.pilot.press("enter")
        await c.sees("Blue.")
        message = {"role": "assistant", "content": "", "reasoning_content": "so "}
        assert sent(c) == (message, OPEN)
        assert [step.text for step in c.turn.steps] == ["so much", "Blue."]
        assert [step.tokens for step in c.turn.steps] == [2, 1]


async def test_after_that_it_can_be_told_to_answer():
    async with chat([Think("so "), End("length")], [Say("Blue."), End()]) as c:
        await c.type("which color?")
        await c.reads("lets it continue")
        await c.type("/answer")
        await c.sees("Blue.")
        assert sent(c)[1] == CLOSED


async def test_a_server_that_cannot_go_on_is_asked_to_think_less_and_nothing_is_lost():
    async with chat([Think("so much"), End()], [Say("Blue."), End()], options=OTHER) as c:
        await c.type("which color?")
        await c.reads("without an answer")
        await c.pilot.press("enter")
        await c.sees("Blue.")
        await c.ready()
        assert c.server.requests[1]["reasoning_effort"] == "low"
        assert c.server.requests[1]["messages"][-1]["role"] == "user"
        assert versions(c) == (2, 2), "what was thought is the version before"
        assert not c.app.options.effort, "of this answer alone"


# --- continuing -------------------------------------------------------------------------------


async def test_an_answer_that_was_cut_goes_on_in_the_same_step():
    async with chat([Think("hm"), Say("One, t"), End("length")], [Say("wo."), End()]) as c:
        await c.type("count")
        await c.reads("Enter, with nothing typed, continues it.")
        await c.type("/continue")
        await c.sees("One, two.")
        await c.ready()
        words = {"content": "One, t", "reasoning_content": "hm"}
        assert sent(c) == ({"role": "assistant", **words}, CLOSED)
        assert [step.text for step in c.turn.steps] == ["hm", "One, two."]
        assert versions(c) == (1, 1)
        session = c.app.conversation.session
    session.read()
    assert [entry.message.text for entry in session.entries] == ["count", "One, two."]


async def test_so_does_one_that_broke_off():
    async with chat([Say("One, t"), Die()], [Say("wo."), End()]) as c:
        await c.type("count")
        await c.reads("What arrived is kept: /continue resumes it.")
        await c.type("/continue")
        await c.sees("One, two.")
        assert c.turn.phase is TurnState.DONE


async def test_where_going_on_fails_the_part_stands():
    async with chat([Say("One, t"), End("length")], [Die()], [Say("wo."), End()]) as c:
        await c.type("count")
        await c.reads("continues it.")
        await c.pilot.press("enter")
        await c.sees("The connection to the engine broke")
        await c.ready()
        assert c.turn.answer == "One, t"
        assert versions(c) == (1, 1)
        await c.type("/continue")
        await c.sees("One, two.")


async def test_where_nothing_more_arrives_the_part_stands_as_it_was():
    gate = Gate()
    async with chat([Think("so much"), End()], [gate], [Say("Blue."), End()]) as c:
        await c.type("which color?")
        await c.reads("without an answer")
        before = c.turn
        await c.pilot.press("enter")
        await c.until(lambda: len(c.server.requests) == 2)
        await c.pilot.press("escape")
        await c.ready()
        await c.reads("without an answer")
        assert c.turn is before
        assert versions(c) == (1, 1)
        gate.open()
        await c.pilot.press("enter")
        await c.sees("Blue.")


async def test_a_server_that_refuses_to_write_on_is_told_to_continue():
    refusal = Refuse(400, "Assistant response prefill is incompatible with enable_thinking.")
    async with chat([Say("One, t"), End("length")], [refusal], [Say("wo."), End()]) as c:
        await c.type("count")
        await c.reads("continues it.")
        await c.pilot.press("enter")
        await c.sees("wo.")
        assert sent(c) == ({"role": "user", "content": "continue"}, {})
        assert c.server.requests[2]["messages"][1]["content"] == "One, t"
        assert "refused" not in c.screen()


async def test_what_broke_off_at_a_call_is_asked_again():
    call: list[Step] = [Think("I look."), Call("look", "{}"), End("length")]
    async with chat(call, [Say("Seen."), End()]) as c:
        await c.type("hi")
        await c.reads("not run")
        await c.ready()
        await c.type("/continue")
        await c.sees("Seen.", "asked again")
        assert c.server.requests[1].get("reasoning_effort") is None


async def test_there_is_nothing_to_go_on_with():
    async with chat([Say("One."), End()]) as c:
        await c.type("/continue")
        await c.sees("No answer to continue.")
        await c.type("count")
        await c.sees("One.")
        await c.ready()
        await c.type("/continue")
        await c.sees("This answer is whole.")
        assert len(c.server.requests) == 1
