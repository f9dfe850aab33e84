"""The steps of an answer as people are shown them."""

import time

from runner.chat.as_html import to_html
from runner.chat.export import to_markdown
from runner.chat.sections import SECTIONS, sections_of
from runner.chat.steps import StepKind, TurnStep, uses_of
from runner.chat.turn import Turn, TurnState

THINKING, TEXT, CALL, RESULT = StepKind


def shown(steps):
    """Return the kinds of the sections with their texts, or the calls and results."""
    return [
        (each.kind, each.nth, each.text or [(u.call.call, u.result) for u in each.uses])
        for each in sections_of(steps)
    ]


def test_they_stand_in_the_order_in_which_they_happened():
    one, two = TurnStep(RESULT, "1", call="a"), TurnStep(RESULT, "2", call="b")
    steps = [
        *(TurnStep(THINKING, "hm"), TurnStep(TEXT, "first")),
        *(TurnStep(CALL, "{}", call="a"), TurnStep(TEXT, "\n"), TurnStep(CALL, "{}", call="b")),
        *(two, one, TurnStep(THINKING, "so"), TurnStep(TEXT, "then")),
        *(TurnStep(CALL, "{}", call="a"), TurnStep(TEXT, "end")),
    ]
    assert shown(steps) == [
        *((THINKING, 0, "hm"), (TEXT, 0, "first"), (CALL, 0, [("a", one), ("b", two)])),
        *((THINKING, 1, "so"), (TEXT, 1, "then"), (CALL, 1, [("a", None)]), (TEXT, 2, "end")),
    ]


def test_steps_without_end_are_put_together_and_cost_little():
    steps = [TurnStep((THINKING, TEXT, CALL)[n % 3], f"{n} ", call=str(n)) for n in range(9000)]
    found = sections_of(steps)
    assert len(found) == SECTIONS
    whole = " ".join(each.text for each in found if each.kind is TEXT)
    assert whole.split() == [step.text.strip() for step in steps if step.kind is TEXT]
    assert sum(len(each.uses) for each in found) == 3000
    assert len({(each.kind, each.nth) for each in found}) == SECTIONS
    same = [TurnStep(CALL, call="x") for _ in range(20_000)]
    began = time.thread_time()
    assert len(uses_of([*same, *(TurnStep(RESULT, call="x") for _ in same)])) == 20_000
    assert time.thread_time() - began < 2


def test_an_export_has_the_same_order():
    steps = [
        *(
            TurnStep(THINKING, "wonder"),
            TurnStep(TEXT, "I look."),
            TurnStep(CALL, "{}", name="zoom"),
        ),
        *(TurnStep(RESULT, "seen"), TurnStep(THINKING, "hence"), TurnStep(TEXT, "A cat.")),
    ]
    turns = [Turn("q", phase=TurnState.DONE, steps=steps)]
    for text in (to_markdown(turns, "M"), to_html(turns, "M").split("<body>")[1]):
        places = [
            text.index(word) for word in ("wonder", "I look.", "zoom", "seen", "hence", "A cat.")
        ]
        assert places == sorted(places)
