"""Words found in turns, whatever their case and accents."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.chat.finding import Hit, HitPlace, Needle, find_in, folded, needle, snippet, unfolded
from runner.chat.steps import StepKind, TurnStep
from runner.chat.turn import Turn, TurnState


def turn(question="", thinking="", answer="", **more):
    return Turn(question, phase=TurnState.DONE, reasoning=thinking, answer=answer, **more)


def sought(words) -> Needle:
    found = needle(words)
    assert found is not None
    return found


def places(turns, words):
    return [(hit.turn, hit.place, hit.number) for hit in find_in(turns, sought(words))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A naïve Élan", "NAIVE elan"),
        ("stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"),
        ("e\N{COMBINING ACUTE ACCENT}lan", "\N{LATIN CAPITAL LETTER E WITH ACUTE}lan"),
        ("今天的天气很好", "天气"),
        ("한국어를 배운다", "한국"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}\N{FULLWIDTH DIGIT ONE}", "a1"),
        ("two\n   lines", "two lines"),
        ("a **bold** word and `code`", "bold word and code"),
        ("def f(**kwargs)", "**kwargs"),
    ],
)
def test_a_text_is_found(text, words):
    assert places([turn(answer=text)], words) == [(0, HitPlace.ANSWER, 0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("か", "が"),  # a voiced syllable is another one
        ("apples", "apples and"),
        ("a.c", "abc"),
    ],
)
def test_a_text_is_not_found(text, words):
    assert places([turn(answer=text)], words) == []


def test_only_marks_are_found_as_they_are():
    assert places([turn(answer="5 * 3 * 2")], "*") == [
        (0, HitPlace.ANSWER, 0),
        (0, HitPlace.ANSWER, 1),
    ]
    assert needle("  ") is None


def test_every_part_of_a_turn_is_searched_in_order():
    steps = [
        TurnStep(StepKind.THINKING, "the fox thinks"),
        TurnStep(StepKind.CALL, '{"q": "fox"}', name="look"),
        TurnStep(StepKind.RESULT, "Fox, fox"),
        TurnStep(StepKind.TEXT, "no"),
        TurnStep(StepKind.TEXT, "A FOX."),
    ]
    turns = [turn("hello"), Turn("fox?", phase=TurnState.DONE, steps=steps)]
    assert places(turns, "fox") == [
        (1, HitPlace.QUESTION, 0),
        (1, HitPlace.THINKING, 0),
        (1, HitPlace.TOOL, 0),
        (1, HitPlace.TOOL, 1),
        (1, HitPlace.TOOL, 2),
        (1, HitPlace.ANSWER, 0),
    ]
    assert find_in(turns, sought("fox"), most=2) == [
        Hit(1, HitPlace.QUESTION, 0),
        Hit(1, HitPlace.THINKING, 0, 4 / 14),
    ]


@given(st.text(), st.integers(0, 40), st.integers(1, 20))
def test_a_range_of_the_folded_text_is_one_of_the_text(text, begin, length):
    compared = folded(text)
    if begin + length > len(compared):
        return
    start, stop = unfolded(text, begin, begin + length)
    assert compared[begin : begin + length] in folded(text[start:stop])


@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_what_is_in_a_text_is_found(around, words):
    if (wanted := needle(words)) is not None:
        spans = list(wanted.spans(f"{around} {words} {around}"))
        assert spans
        assert all(begin < end for begin, end in spans)


def test_a_snippet_is_one_line_around_the_hit():
    text = f"{'x' * 50}\nthe Fox\n{'y' * 200}"
    found = snippet(text, sought("fox"))
    assert found.startswith("…")
    assert " the Fox y" in found
    assert "\n" not in found
    assert len(found) < 140
    assert snippet(text, sought("bear")) == ""


def test_a_chat_of_a_thousand_turns_is_searched_at_once():
    turns = [
        turn(f"question {n}", "hm " * 100, "Über Äpfel und Birnen " * 200) for n in range(1000)
    ]
    begin = time.thread_time()
    hits = find_in(turns, sought("birnen ü"))
    assert len(hits) == 9_999
    find_in(turns, sought("nowhere"))
    assert time.thread_time() - begin < 5.0  # 4.7 million characters
