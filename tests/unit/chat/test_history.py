"""What of a conversation is sent: whatever its turns are, servers can take it."""

from hypothesis import given
from hypothesis import strategies as st

from runner.chat.dialect import OPENAI
from runner.chat.history import to_messages
from runner.chat.steps import StepKind, TurnStep, rounds_of, uses_of
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options, Picture, arguments_of, request_body

PICTURE = Picture("a.png", "image/png", b"x", 1, 1, 1)
STEPS = st.builds(
    TurnStep,
    kind=st.sampled_from(StepKind),
    text=st.sampled_from(["", "{}", "words", '{"x": 1}', "{"]),
    name=st.sampled_from(["", "zoom", "odd name!"]),
    call=st.sampled_from(["", "a", "b"]),
    pictures=st.sampled_from([(), (PICTURE,)]),
)
TURNS = st.builds(
    lambda text, phase, steps: Turn(text, (), phase, steps=steps),
    text=st.sampled_from(["", "hi"]),
    phase=st.sampled_from(TurnState),
    steps=st.lists(STEPS, max_size=8),
)


def step(kind: StepKind, text: str = "", call: str = "") -> TurnStep:
    return TurnStep(kind, text, name="zoom" if call else "", call=call)


@given(st.lists(TURNS, min_size=1, max_size=4), st.sampled_from([OPENAI, Options().dialect]))
def test_each_result_follows_its_call_and_each_call_has_one(turns, dialect):
    body = request_body(to_messages(turns), Options(dialect=dialect))
    open_calls: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] == open_calls.pop(0)
            continue
        assert not open_calls, "a call without a result"
        open_calls = [call["id"] for call in message.get("tool_calls", ())]
        for call in message.get("tool_calls", ()):
            assert arguments_of(call["function"]["arguments"]) is not None
            assert call["function"]["name"]
    assert not open_calls
    assert body["messages"][-1]["role"] != "assistant", "the model is asked"


@given(st.lists(TURNS, min_size=1, max_size=4), st.text(max_size=5))
def test_a_further_question_changes_nothing_before_it_but_the_thinking(turns, text):
    for turn in turns:
        turn.phase = TurnState.DONE
    sent = request_body(to_messages(turns), Options(dialect=OPENAI))["messages"]
    later = request_body(to_messages([*turns, Turn(text)]), Options(dialect=OPENAI))["messages"]
    if turns[-1].answered or any(use.result for use in uses_of(turns[-1].steps)):
        assert later[: len(sent)] == sent


def test_words_before_a_call_stand_with_it_and_words_after_its_result_behind():
    steps = [
        step(StepKind.TEXT, "Let me look."),
        step(StepKind.CALL, "{}", "a"),
        step(StepKind.RESULT, "seen", "a"),
        step(StepKind.THINKING, "so"),
        step(StepKind.TEXT, "A cat."),
    ]
    done = Turn("q", phase=TurnState.DONE, steps=steps)
    sent = to_messages([done, Turn("sure?")])
    assert [(message.role, message.text) for message in sent] == [
        ("user", "q"),
        ("assistant", "Let me look."),
        ("tool", "seen"),
        ("assistant", "A cat."),
        ("user", "sure?"),
    ]
    assert [len(one) for one in rounds_of(steps)] == [3, 2]


def test_of_a_failed_answer_only_the_words_are_sent():
    steps = [
        step(StepKind.TEXT, "Let me look."),
        step(StepKind.CALL, "{}", "a"),
        step(StepKind.RESULT, "too much", "a"),
    ]
    failed = Turn("q", phase=TurnState.FAILED, steps=steps)
    sent = to_messages([failed, Turn("again?")])
    assert [(m.role, m.text) for m in sent] == [
        *(("user", "q"), ("assistant", "Let me look."), ("user", "again?"))
    ]
