"""The words of an answer in plain lines, whole and by the clock."""

from dataclasses import replace
from itertools import pairwise

import pytest

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.chat.clock import AnswerClock
from runner.chat.events import (
    Event,
    Failed,
    Finished,
    PromptProgress,
    Reasoning,
    Text,
    ToolCall,
    WasReasoning,
)
from runner.chat.steps import StepKind, TurnStep
from runner.chat.turn import Turn
from runner.tui.plain.words import (
    EACH_S,
    FIRST_S,
    REASONED,
    AnswerWords,
    WaitingWords,
    host_waits,
    waits_for,
)


def told(*events: Event, thinking: bool = False, each: int = 1) -> list[str]:
    """Return what is printed after every `each` events, and at the end."""
    turn, words, printed = Turn("q"), AnswerWords(thinking=thinking), []
    turn.begin()
    for number, event in enumerate(events, 1):
        turn.apply(event, float(number))
        if number % each == 0:
            printed.append(words.more(turn))
    printed.append(words.more(turn, end=True))
    return printed


def test_whole_words_come_as_they_arrive():
    assert told(Text("Hel"), Text("lo wor"), Text("ld\nand"), Text(" more")) == [
        *("", "Hello ", "world\n", "and "),
        "more\n",
    ]


def test_a_text_without_blanks_is_not_held_for_ever():
    parts = told(*[Text("\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 10)] * 20)
    assert sum(map(bool, parts)) > 2
    assert "".join(parts) == "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 200 + "\n"


@pytest.mark.parametrize("each", [1, 2, 3, 100])
def test_steps_are_told_in_order(each):
    events = (
        *(Reasoning("hm"), Reasoning(" hm"), Text("Let me "), Text("look.")),
        *(
            ToolCall(0, "c1", "zoom", '{"x":'),
            ToolCall(0, arguments=" 1}"),
            Text("Red."),
            Finished(),
        ),
    )
    assert "".join(told(*events, each=each)) == (
        'Thought for 1 s, 2 tokens.\nLet me look.\nCalled zoom with {"x": 1}.\nRed.\n'
    )
    assert ", 1 token.\n" in "".join(told(*events[1:], each=each))
    assert "".join(told(*events, thinking=True, each=each)) == (
        'Thinking:\nhm hm\nLet me look.\nCalled zoom with {"x": 1}.\nRed.\n'
    )


@pytest.mark.parametrize("each", [1, 2, 3, 4, 5, 100])
def test_an_answer_that_was_reasoning_is_named_and_not_repeated(each):
    events = (Reasoning("a "), Text("deep "), Text("thought "), WasReasoning(), Text("So it is."))
    whole = "".join(told(*events, each=each))
    assert whole.endswith("So it is.\n")
    assert whole.count("So it is.") == 1
    assert (REASONED in whole) == (each < 4)


def test_results_of_tools_are_told_and_bounded():
    turn = Turn("q")
    turn.steps = [
        TurnStep(StepKind.RESULT, "x" * 5000, name="zoom"),
        TurnStep(StepKind.RESULT, "y"),
    ]
    text = AnswerWords().more(turn, end=True)
    assert text.startswith("zoom returned: xxx")
    assert "(5,000 characters)" in text
    assert len(text) < 500


def test_a_line_each_half_minute():
    waiting = WaitingWords(100.0)
    due = [now for now in range(100, 200) if waiting.due(float(now))]
    assert due[0] == 100 + FIRST_S
    assert {b - a for a, b in pairwise(due)} == {EACH_S}
    waiting.heard(200.0)
    assert not waiting.due(200.0 + FIRST_S - 1)
    assert waiting.due(200.0 + FIRST_S)


def test_what_is_waited_for():
    turn, clock = Turn("q"), AnswerClock()
    turn.begin()
    clock.ask(100.0)
    assert waits_for(turn, clock, 112.0, own=True) == "Connecting, for 12 s."
    clock.connected(112.0)
    assert waits_for(turn, clock, 130.0, own=False) == "Waiting for the server, for 30 s."
    clock.heard(130.0)
    assert waits_for(turn, clock, 131.0, own=True) == "Prefill, for 31 s."
    events: list[tuple[float, Event]] = [(131.0, PromptProgress(0, 60_000))]
    events.append((141.0, PromptProgress(12_400, 60_000, 0, 10.0)))
    for now, event in events:
        clock.apply(event, now)
        turn.apply(event, now)
    assert waits_for(turn, clock, 141.0, own=True) == (
        "Prefill: 12,400 of 60,000 tokens, 38 s left."
    )
    for now in (180.0, 190.0):
        clock.apply(Reasoning("x"), now)
        turn.apply(Reasoning("x"), now)
    assert waits_for(turn, clock, 192.0, own=True) == "Thinking for 10 s, 2 tokens so far."
    assert waits_for(turn, clock, 220.0, own=True) == (
        "Thinking for 10 s, 2 tokens so far; none for 30 s."
    )
    clock.apply(Text("x"), 230.0)
    turn.apply(Text("x"), 230.0)
    assert waits_for(turn, clock, 260.0, own=True) == "No token of the answer for 30 s."
    turn.apply(Failed(SteprunError("x")), 261.0)
    assert host_waits(30.0, None, own=True) == "Loading the model: 30 s so far."
    loaded = Loaded(37 << 30, 100 << 30, rate=2 << 30)
    said = host_waits(30.0, loaded, own=True)
    assert said == "Loading the model: 37 %, 2.00 GiB/s, 32 s left."
    assert host_waits(30.0, replace(loaded, rate=0), own=True) == (
        "Loading the model: 37 %, 30 s so far."
    )
