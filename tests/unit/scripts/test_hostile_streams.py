"""Hostile answers, one of each kind. `scripts/attack_chat --streams 200` sends many more."""

import random

import pytest

pytest.importorskip("pexpect")

from chat_attacks import hostile, streams
from runner.base.errors import SteprunError
from runner.chat.events import Failed
from runner.chat.turn import Turn

ONE_OF_EACH = len(hostile.KINDS)


@pytest.fixture(autouse=True)
def home_again(monkeypatch, home):
    monkeypatch.setenv("STEPRUN_HOME", str(home))  # what the attack sets is taken back


def test_the_same_dice_make_the_same_streams():
    first, again = (list(hostile.hostile_streams(ONE_OF_EACH, random.Random(7))) for _ in range(2))
    assert first == again
    assert len({each.kind for each in first}) == ONE_OF_EACH


@pytest.mark.parametrize("against", ["client", "plain"])
def test_one_of_each_kind_does_no_harm(against):
    (report,) = streams.attack(ONE_OF_EACH, random.Random(3), against).values()
    assert report.failures == []
    assert report.sent.total() == ONE_OF_EACH


@pytest.mark.slow
def test_one_of_each_kind_does_no_harm_to_the_window():
    (report,) = streams.attack(ONE_OF_EACH, random.Random(3), "window").values()
    assert report.failures == []


def test_what_is_wrong_is_found():
    assert streams.wrong_in("fine\n\tx") == ""
    assert streams.wrong_in("a\x1b[2J") == "'\\x1b'"
    turn = Turn("hi")
    turn.begin()
    assert "never ended" in streams.wrong_turn(turn, 10)
    turn.apply(Failed(SteprunError("no words")), 1.0)
    assert "no sentence" in streams.wrong_turn(turn, 10)
