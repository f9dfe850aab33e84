"""The reader of a guarded program's log, while the guard writes it and moves it."""

from pathlib import Path

import pytest

from runner.engine.process.log import LINE_BYTES, PIECE_BYTES, LogReader


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as log:
        log.write(data)


def test_lines_are_whole_and_new(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = LogReader(path)
    assert reader.lines() == [], "not there yet"
    path.write_bytes(b"one\ntw")
    assert reader.lines() == ["one"]
    assert reader.lines() == []
    add(path, b"o\nthree\n")
    assert reader.lines() == ["two", "three"]


def test_a_log_that_starts_over_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = LogReader(path)
    path.write_bytes(b"a long line before\nhalf of ano")
    assert reader.lines() == ["a long line before"]
    path.write_bytes(b"anew\n")
    assert reader.lines() == ["anew"]


def test_what_is_kept_and_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = LogReader(path)
    path.write_bytes(b"x" * (LINE_BYTES + 1000))
    assert reader.lines() == []
    add(path, b" the same line\nnext\n")
    assert reader.lines() == ["x" * LINE_BYTES, "next"]
    add(path, b"y\n" * PIECE_BYTES)
    assert len(reader.lines()) == PIECE_BYTES // 2


@pytest.mark.parametrize(
    ("count", "text"), [(100, "the error\nlast words\n"), (13, "r\nlast words\n"), (6, "words\n")]
)
def test_the_end_may_lie_in_the_older_part(tmp_path: Path, count: int, text: str) -> None:
    path = tmp_path / "log"
    assert LogReader(path).tail(count) == ""
    (tmp_path / "log.1").write_bytes(b"the error\n")
    path.write_bytes(b"last words\n")
    assert LogReader(path).tail(count) == text
