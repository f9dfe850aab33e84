"""Scores of trained files through an engine; here of random weights, which are never right."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.engine


async def test_every_subject_is_asked_and_counted(tiny: Path) -> None:
    from training.examine import SUBJECTS, examine

    files = tiny / "tiny-step.gguf", tiny / "mmproj-tiny-step.gguf"
    scores = {score.name: score async for score in examine(*files, tuple(SUBJECTS), 1)}
    assert {"colour", "calls parsed", "zoom called", "thinking parsed"} <= scores.keys()
    assert scores["colour"].right == 0
    assert scores["right arguments"].right == 0
    assert scores["thinking, low"].mean is not None


def test_a_score_is_a_line_of_a_table() -> None:
    from training.examine import Score

    assert str(Score("colour", 3, 4)).split() == ["colour", "3", "of", "4", "75.0%"]
    assert "12.5 characters" in str(Score("thinking, low", 0, 2, 12.5))
