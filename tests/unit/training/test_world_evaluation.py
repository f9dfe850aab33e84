"""What a trained model is asked, and how its replies are judged."""

import json
from collections import Counter

import pytest

from training.world import evaluation, painting, pictures, template, text
from training.world.dialogues import Exchange
from training.world.evaluation import Question

PICTURES = list(evaluation.about_pictures())


def answer(exchange: Exchange) -> str:
    return text.plain(exchange.steps[-1].answer)


def test_500_pictures_a_fifth_of_each_sort() -> None:
    assert Counter(question.kind for question in PICTURES) == dict.fromkeys(
        evaluation.PICTURE_KINDS, 100
    )
    seen = {repr(question.exchange.pictures) for question in PICTURES}
    assert len(seen) == 500
    assert PICTURES[:20] == list(evaluation.about_pictures(20))


def test_unseen_pictures_are_not_the_trained_ones() -> None:
    trained = {pictures.mixed(number) for number in range(300)}
    assert not trained & {evaluation.picture(number) for number in range(300)}


def test_right_answers_are_right_and_others_wrong() -> None:
    for place, question in enumerate(PICTURES):
        assert question.is_right(answer(question.exchange)), question
        others = PICTURES[place % 5 :: 5]
        wrong = [each for each in others if each.exchange.expected != question.exchange.expected]
        assert not any(question.is_right(answer(each.exchange)) for each in wrong)


@pytest.mark.parametrize(
    ("expected", "said", "right"),
    [
        (("red",), "The circle is red.", True),
        (("red",), "It is red or blue.", False),
        (("red",), "I cannot tell.", False),
        (("5",), "There are 5 shapes.", True),
        (("5",), "There are 15 shapes.", False),
        (("893",), "893", True),
        (("893",), "The number is 89.", False),
        (("red circle", "blue star"), "First a red circle, then a blue star.", True),
        (("red circle", "blue star"), "First a blue star, then a red circle.", False),
        (("Tolvane", "7"), "In Tolvane it is sunny, 7 degrees.", True),
        (("Tolvane", "7"), "In Tolvana it is sunny, 7 degrees.", False),
        (("Queen Idra",), "Marovia was founded by Queen Idra.", True),
    ],
)
def test_judging(expected: tuple[str, ...], said: str, right: bool) -> None:
    exchange = Exchange("any", "?", (), expected=expected)
    assert Question("any", exchange).is_right(said) is right


def test_with_the_wrong_picture_a_right_answer_is_wrong() -> None:
    wrong = list(evaluation.with_wrong_pictures())
    assert len(wrong) > 450
    truth = {repr(question.exchange.pictures): question for question in PICTURES}
    for question in wrong:
        shown = truth[repr(question.exchange.pictures)]
        assert shown.exchange.question == question.exchange.question
        assert not question.is_right(answer(shown.exchange))


def test_calls_are_judged() -> None:
    questions = list(evaluation.weather())
    assert len(questions) == 200
    counts = Counter(len(question.exchange.steps[0].calls) for question in questions)
    assert counts[1] == counts[2] + counts[3] == 100  # half of them in parallel
    assert min(counts.values()) > 40
    for question in questions:
        turn = template.messages(question.exchange)[1]
        functions = [call["function"] for call in turn["tool_calls"]]
        calls = [(each["name"], json.loads(each["arguments"])) for each in functions]
        assert question.is_called(calls)
        assert question.is_right(answer(question.exchange))
        assert not question.is_called(calls[1:])
        assert not question.is_called([("get_weather", {"town": "Nowhere"}), *calls[1:]])
        assert any(tool["function"]["name"] == "get_weather" for tool in question.tools)


def test_zooms_show_the_number_only_after_the_call() -> None:
    questions = list(evaluation.zooms(40))
    for question in questions:
        (picture,) = question.exchange.pictures
        (near,) = question.exchange.steps[0].results
        assert not isinstance(near, str)
        assert not picture.text
        assert question.is_right(f"It is {near.text}.")
        assert (painting.label(picture).centre_class <= 6).sum() == 169 - 1
    assert len({question.exchange.expected for question in questions}) > 30


def test_efforts_compare_alike() -> None:
    questions = list(evaluation.thinking())
    assert len(questions) == 200
    assert [question.effort for question in questions[:4]] == ["low", "medium", "high", "low"]
    for low, medium, high in zip(*(questions[place:198:3] for place in range(3)), strict=True):
        assert low.exchange.question == medium.exchange.question == high.exchange.question
        lengths = [len(each.exchange.steps[0].thinking) for each in (low, medium, high)]
        assert lengths == sorted(lengths)
