"""Scores of trained files through an engine; here of random weights, which are never right."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.engine


async def test_every_subject_is_asked_and_counted(tiny: Path) -> None:
    from training.examine import SUBJECTS, Score, examine

    files = tiny / "tiny-step.gguf", tiny / "mmproj-tiny-step.gguf"
    found = [score async for score in examine(*files, tuple(SUBJECTS), 1)]
    scores = {score.name: score for score in found if isinstance(score, Score)}
    assert {"colour", "calls parsed", "zoom called", "thinking parsed"} <= scores.keys()
    assert scores["colour"].right == 0
    assert scores["right arguments"].right == 0
    assert scores["thinking, low"].mean is not None


def test_a_score_is_a_line_of_a_table() -> None:
    from training.examine import Score

    assert str(Score("colour", 3, 4)).split() == ["colour", "3", "of", "4", "75.0%"]
    assert "12.5 characters" in str(Score("thinking, low", 0, 2, 12.5))


async def test_drafts_change_no_answer_of_the_model_that_ships() -> None:
    from training import drafting, pack
    from training.examine import examine

    files = pack.PLACE / "tiny-step-F16.gguf", pack.PLACE / pack.PROJECTOR
    (found,) = [score async for score in examine(*files, ("drafting",), 8)]
    assert isinstance(found, drafting.Drafts)
    assert (found.same, found.asked) == (8, 8)
    assert found.accepted[0] > 0.7 * found.steps > 0, "first heads guess well, or are mixed up"


async def test_the_graph_agrees_with_the_engine_on_trained_weights(pytorch: None) -> None:
    from training import compare_trained, pack

    files = pack.PLACE / "tiny-step-F16.gguf", pack.PLACE / pack.PROJECTOR
    on_text, on_pictures = await compare_trained.compared(*files, 3)
    for found, median in ((on_text, 0.02), (on_pictures, 0.05)):
        apart = sorted(value for one in found.found for value in one.apart)
        assert apart[len(apart) // 2] < median, str(found)
