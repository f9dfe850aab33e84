"""Kept facts are typed, private, and changed by one steprun at a time."""

import stat
import subprocess
import sys

import pytest

from runner.base import state
from runner.base.errors import Refused


def kept(tmp_path):
    return state.JsonState(lambda: tmp_path / "state" / "counts.json", dict[str, int], dict)


def test_what_is_changed_is_read_again_and_private(tmp_path):
    counts = kept(tmp_path)
    assert counts.read() == {}
    counts.change(lambda known: known | {"a": 1})
    counts.change(lambda known: known | {"b": 2})
    assert kept(tmp_path).read() == {"a": 1, "b": 2}
    assert stat.S_IMODE((tmp_path / "state" / "counts.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": "one"}', "null", "\xff"])
def test_a_damaged_file_counts_as_empty(tmp_path, damage):
    counts = kept(tmp_path)
    counts.change(lambda _: {"a": 1})
    (tmp_path / "state" / "counts.json").write_text(damage, "latin-1")
    assert counts.read() == {}
    counts.change(lambda known: known | {"b": 2})
    assert counts.read() == {"b": 2}


def test_two_stepruns_lose_nothing(tmp_path):
    line = (
        "import sys; from pathlib import Path; from runner.base.state import JsonState\n"
        "kept = JsonState(lambda: Path(sys.argv[1]), dict[str, int], dict)\n"
        "for n in range(30): kept.change(lambda known: known | {f'{sys.argv[2]}{n}': n})"
    )
    path = str(tmp_path / "counts.json")
    running = [subprocess.Popen([sys.executable, "-c", line, path, who]) for who in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    counts = state.JsonState(lambda: tmp_path / "counts.json", dict[str, int], dict)
    assert len(counts.read()) == 60


def test_what_may_be_lost_is_lost_without_a_word(tmp_path, monkeypatch):
    def full(*_):
        raise Refused("full")

    monkeypatch.setattr(state, "write_private", full)
    with pytest.raises(Refused):
        kept(tmp_path).change(lambda known: known)
    kept(tmp_path).try_change(lambda known: known)


def test_a_folder_that_takes_no_lock_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(Refused, match="cannot be written") as caught:
        kept(tmp_path).change(lambda value: value)
    assert "Read-only" in caught.value.why
