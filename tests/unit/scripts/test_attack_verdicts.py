"""What attack_gateway says of each attack: judged on rounds written by hand."""

from dataclasses import replace

import pytest

from attacking.attacks import Shot
from attacking.cli import Round, report

RIGHT = Shot("right", 200, frozenset({200}))
WRONG = Shot("wrong", 500, frozenset({400}))
STOOD = Round("large", (RIGHT,), 1.0, 0, (0.01,) * 200)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shots": (RIGHT, WRONG)}, "1 of 2 answered wrongly"),
        ({"shots": ()}, "nothing was sent"),
        ({"restarts": 2}, "the engine was started again 2 times"),
        ({"restarts": None}, "does not say"),
        ({"health": ()}, "/health was never asked"),
        ({"health": (0.01,) * 97 + (0.1,) * 3}, "/health took 100 ms"),
    ],
)
def test_any_miss_ends_in_exit_1_and_is_named(
    change: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missed = replace(STOOD, **change)  # type: ignore[arg-type]
    assert report([STOOD, replace(missed, kind="slow")]) == 1
    printed = capsys.readouterr().out
    assert "large: stood\n" in printed
    assert "slow: NOT STOOD: " in printed
    assert words in printed


def test_what_is_stood_ends_in_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    slow_once = replace(STOOD, health=(0.01,) * 199 + (0.5,))
    assert report([STOOD, slow_once]) == 0
    assert "NOT STOOD" not in capsys.readouterr().out
    assert report([]) == 1
