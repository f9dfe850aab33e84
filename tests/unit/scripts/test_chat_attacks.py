"""The attack on the chat: what it counts as lost. `scripts/attack_chat` kills dozens of chats."""

import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("pexpect")

from chat_attacks import kills
from chat_attacks.kills import look, missing
from runner.chat.conversation import Conversation
from runner.chat.events import Reasoning, Text


def test_a_word_that_is_not_found_is_lost_and_has_an_age():
    said = [(10.0, "a"), (11.0, "b"), (12.5, "c")]
    assert missing(said, frozenset({"b"}), 13.0) == [(3.0, "a"), (0.5, "c")]


def test_a_look_finds_the_words_of_the_draft_and_of_each_version(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    chat = Conversation("x")
    turn = chat.append("q1 q2", ())
    for answer in ("a1", "a2"):
        chat.asked(turn)
        turn.apply(Reasoning(f"r{answer} "), 1.0)
        turn.apply(Text(answer), 1.0)
        chat.ended(turn)
        turn = chat.regenerate(turn)
    chat.keep_draft("d1d2", ())  # typed after a kill that came before the blank
    chat.close()
    kept = look()
    assert kept.words == {"q1", "q2", "ra1", "a1", "ra2", "a2", "d1", "d2"}
    assert kept.warnings == ()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_two_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    report = kills.attack(tmp_path, 2, random.Random(3), 30.0, only_s=2.0)
    assert report.killed.total() == 2
    assert not report.failures
