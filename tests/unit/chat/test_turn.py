"""A turn: what events make of it, what is sent, saved and shown of it."""

import pytest

from runner.chat.calls import calls_text
from runner.chat.events import (
    Event,
    Finished,
    PromptProgress,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    WasReasoning,
)
from runner.chat.history import to_messages
from runner.chat.sections import sections_of
from runner.chat.steps import StepKind
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Message, Picture

PICTURE = Picture("cat.png", "image/png", b"", 1024, 768, 504)


def done(text: str, answer: str, **fields) -> Turn:
    return Turn(text, phase=TurnState.DONE, answer=answer, **fields)


def test_a_turn_takes_in_what_happens():
    turn = Turn("hi")
    turn.begin()
    for event, now in (
        (PromptProgress(50, 200), 0.5),
        (Reasoning("Let me"), 1.0),
        (Reasoning(" think."), 2.0),
        (Text("\n\n"), 2.5),
        (Text("Hello"), 3.0),
        (Text("!"), 4.0),
    ):
        turn.apply(event, now)
    assert (turn.phase, turn.reasoning, turn.answer) == (
        TurnState.ANSWERING,
        "Let me think.",
        "Hello!",
    )
    assert [each.rate for each in sections_of(turn.steps)] == [1.0, pytest.approx(4 / 3)]
    assert turn.rate() == pytest.approx(4 / 3)
    assert turn.context_used() == 55
    turn.apply(Usage(prompt_tokens=200, completion_tokens=7, decode_tps=30.0), 4.1)
    turn.apply(Finished("stop"), 4.2)
    assert (turn.phase, turn.rate(), turn.context_used()) == (TurnState.DONE, 30.0, 207)
    assert turn.note() == ""


def test_asking_again_starts_from_nothing():
    turn = done("hi", "bye", reasoning="hm", usage=Usage(1, 1, 1), finish="stop")
    turn.begin()
    assert (turn.answer, turn.reasoning, turn.usage, turn.finish) == ("", "", None, "")


def test_how_the_prompt_was_read_is_said_of_a_finished_answer():
    turn = done("q", "a", finish="stop", usage=Usage(6251, 6208, 10, read_tps=500.0))
    assert turn.reading() == "Read 43 of 6,251 tokens, 6,208 from the cache: 12 s saved."
    turn.phase = TurnState.STOPPED
    assert turn.reading() == ""


@pytest.mark.parametrize(
    ("turn", "context", "words"),
    [
        (done("q", "", finish="length", reasoning="hm"), 0, "lets it continue"),
        (done("q", "", finish="stop", reasoning="hm"), 0, "has it answer from what it thought"),
        (done("q", "a", finish="length"), 0, "token limit"),
        (done("q", "a", finish="length", usage=Usage(90, 0, 10)), 100, "/new"),
        (done("q", "", finish="stop"), 0, "/retry"),
        (Turn("q", phase=TurnState.STOPPED), 0, "stopped"),
        (Turn("q", phase=TurnState.CUT), 0, "the program ended before the answer did"),
        (Turn("q"), 0, "Esc"),
    ],
)
def test_the_note_under_an_answer(turn, context, words):
    assert words in turn.note(context)


def test_only_what_was_answered_or_stopped_is_sent():
    failed = Turn("poison", phase=TurnState.FAILED)
    stopped = Turn("One more", (PICTURE,), phase=TurnState.STOPPED)
    last = Turn("thing")
    turns = [done("hi", "hello", reasoning="hm"), failed, stopped, last]
    assert to_messages(turns) == [
        Message("user", "hi"),
        Message("assistant", "hello"),
        Message("user", "One more\n\nthing", (PICTURE,)),
    ]
    # Asked again, it is the question, whatever came of it before.
    assert to_messages([failed]) == [Message("user", "poison")]


def test_what_was_taken_for_the_answer_may_turn_out_to_be_thinking() -> None:
    turn = Turn("2+2?")
    turn.begin()
    happened: list[Event] = [Text("So 4."), WasReasoning(), Text("\n4"), Finished()]
    for at, event in enumerate(happened):
        turn.apply(event, 10.0 + at)
    assert (turn.reasoning, turn.answer, turn.note()) == ("So 4.", "4", "")
    assert (turn.thought_tokens, turn.answer_tokens, turn.thought_s) == (1, 1, 1.0)


def test_a_length_without_figures_names_none():
    turn = Turn("hi")
    turn.begin()
    turn.apply(Finished("length"), 1.0)
    missing = turn.missing()
    assert missing is not None
    assert missing.why.startswith("The prompt may be longer")


def test_a_turn_is_steps_in_the_order_in_which_they_happened() -> None:
    turn = Turn("What is in it?")
    turn.begin()
    happened: list[Event] = [
        *(Reasoning("I loo"), Reasoning("k."), Text("Let me see."), ToolCall(0, "c1", "zoom", "{")),
        *(ToolCall(1, "c2", "mark", "{}"), ToolCall(0, "", "", '"x":1}'), Text("A cat.")),
    ]
    for at, event in enumerate(happened):
        turn.apply(event, 10.0 + at)
    found = [(step.kind, step.text, step.tokens, step.seconds) for step in turn.steps]
    assert found == [
        (StepKind.THINKING, "I look.", 2, 1.0),
        (StepKind.TEXT, "Let me see.", 1, 0.0),
        (StepKind.CALL, '{"x":1}', 2, 2.0),
        (StepKind.CALL, "{}", 1, 0.0),
        (StepKind.TEXT, "A cat.", 1, 0.0),
    ]
    assert [(call.name, call.call) for call in turn.calls] == [("zoom", "c1"), ("mark", "c2")]
    assert (turn.reasoning, turn.answer) == ("I look.", "Let me see.\n\nA cat.")


def test_a_call_is_named_where_an_answer_ends_in_it() -> None:
    turn = Turn("hi")
    turn.begin()
    turn.apply(ToolCall(0, "c1", "get_weather", "{}"), 1.0)
    turn.apply(Finished("tool_calls"), 2.0)
    assert turn.note().startswith("It called get_weather({}). This chat offers no tools")


def test_a_turn_of_which_a_part_is_lost_is_not_sent() -> None:
    broken = done("", "an answer to who knows what")
    broken.broken = True
    assert to_messages([broken, Turn("next")]) == [Message("user", "next")]


def test_calls_are_named_although_nothing_is_run():
    turn = Turn("Weather?")
    turn.begin()
    pieces = [
        ToolCall(0, "c1", "get_weather", '{"city": '),
        ToolCall(0, arguments='"Paris"}'),
        ToolCall(1, "c2", "\x1b[31mrm", "x" * 1000),
    ]
    happened: list[Event] = [*pieces, Finished("tool_calls")]
    for at, event in enumerate(happened):
        turn.apply(event, 10.0 + at)
    note = turn.note()
    assert note.startswith('It called get_weather({"city": "Paris"}) and [31mrm(xxx')
    assert "offers no tools" in note
    assert "/retry" not in note, "it would call them again"
    assert len(note) < 600
    missing = turn.missing()
    assert missing is not None
    assert "get_weather" in missing.why
    assert missing.next == "Ask it to answer without tools."
    turn.apply(Text("Let me look."), 20.0)
    turn.apply(Finished("tool_calls"), 21.0)
    assert "get_weather" in turn.note(), "text beside a call hides it no more than none"
    turn.begin()
    assert not turn.calls
    assert calls_text([("", "")] * 5) == "a tool(), a tool(), a tool() and 2 more"
