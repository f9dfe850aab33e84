"""What runs have taken is kept in one private file, which nobody has to trust."""

import json
import stat
from pathlib import Path

import pytest

from runner.base.units import GIB
from runner.engine.process import lesson_book
from runner.plan.launch import Expected
from runner.plan.memory.lessons import KEPT, Miss

KEY = "a machine | an engine | a driver"
DAY = "2026-11-27"


def note(own: int, everything: int = 0, key: str = KEY, **more: int | bool) -> None:
    expected = Expected(key, 5 * GIB, "Step", **more)  # type: ignore[arg-type]
    lesson_book.note(expected, own, everything, DAY)


def test_what_a_run_took_is_kept_in_a_private_file(home: Path) -> None:
    note(6 * GIB)
    note(6 * GIB, 9 * GIB)
    note(6 * GIB, 9 * GIB, driver=True)
    note(6 * GIB, 0, account=7 * GIB)
    assert lesson_book.recall(KEY) == [
        Miss(5 * GIB, 6 * GIB, 6 * GIB, "Step", DAY),
        Miss(5 * GIB, 6 * GIB, 6 * GIB, "Step", DAY),  # no driver: it was not for the engine
        Miss(5 * GIB, 6 * GIB, 9 * GIB, "Step", DAY),
        Miss(5 * GIB, 7 * GIB, 7 * GIB, "Step", DAY),  # by its own account
    ]
    assert lesson_book.recall("another driver") == []
    assert stat.S_IMODE(lesson_book.path().stat().st_mode) == 0o600
    assert json.loads(lesson_book.path().read_text())["schema"] == "steprun.lessons/1"


def test_only_so_much_is_kept(home: Path) -> None:
    for number in range(KEPT + 3):
        note(number)
    assert [each.own for each in lesson_book.recall(KEY)] == list(range(3, KEPT + 3))
    for number in range(lesson_book.KEYS + 5):
        note(1, key=f"key {number}")
    assert lesson_book.recall(KEY) == []
    assert lesson_book.recall("key 4") == []
    assert lesson_book.recall("key 5")
    note(1, key="x" * 5000)
    note(2, key="x" * 5000)
    assert [each.own for each in lesson_book.recall("x" * 5000)] == [1, 2]


def test_all_is_forgotten(home: Path) -> None:
    assert lesson_book.forget() == 0
    note(1)
    note(2)
    assert lesson_book.forget() == 2
    assert lesson_book.recall(KEY) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"schema": "steprun.lessons/2"}',
        '{"misses": {"a": [{"counted": -1, "own": 0, "all": 0}]}}',
        '{"misses": {"a": [{"counted": 1, "own": 99999999999999999999, "all": 0}]}}',
        json.dumps({"misses": {"a": [{"counted": 1, "own": 1, "all": 1}] * (KEPT + 1)}}),
        json.dumps({"misses": {"a": [{"counted": 1, "own": 1, "all": 1, "model": "x" * 999}]}}),
        " " * (17 << 20),
    ],
)
def test_a_file_that_is_not_one_of_ours_is_ignored_and_written_anew(home: Path, text: str) -> None:
    note(1)
    assert not lesson_book.damaged()
    lesson_book.path().write_text(text)
    assert lesson_book.recall("a") == []
    assert lesson_book.damaged()
    note(1)
    assert not lesson_book.damaged()
    assert lesson_book.recall(KEY)


def test_a_full_disk_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr("runner.base.state.write_private", full)
    note(1)
    assert not lesson_book.path().exists()
