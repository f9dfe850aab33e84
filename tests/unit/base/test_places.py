"""Folders that cannot be written to or entered, and users without a home."""

import errno
import os
from pathlib import Path

import pytest

from runner.base import paths
from runner.base.disk import explained
from runner.base.errors import Refused
from runner.base.files import listed


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTSUP])
def test_a_folder_that_cannot_be_made_is_named_whole(monkeypatch, tmp_path, number):
    monkeypatch.delenv("STEPRUN_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no" / "cache"))
    for folder, variable in (
        (paths.cache_dir() / "models", "set STEPRUN_HOME"),
        (tmp_path / "no" / "hub", "set HF_HOME"),
    ):
        with pytest.raises(Refused) as caught, explained(folder):
            raise OSError(number, os.strerror(number), str(tmp_path / "no"))
        assert caught.value.what == f"steprun cannot write to {folder}."
        assert variable in caught.value.next
        assert "STEPRUN_HOME moves" in caught.value.next
        assert "HF_HOME the weights" in caught.value.next


def test_a_file_that_is_missing_is_another_matter(tmp_path):
    with pytest.raises(FileNotFoundError), explained(tmp_path):
        (tmp_path / "none").read_bytes()


def test_a_user_without_a_home_gets_the_name_of_none(monkeypatch):
    monkeypatch.setenv("HOME", "before")
    monkeypatch.setattr("os.path.expanduser", lambda text: text)
    paths.must_have_home()
    assert os.environ["HOME"] == "/nonexistent"


def test_a_home_is_kept(monkeypatch):
    monkeypatch.setenv("HOME", "/home/u")
    paths.must_have_home()
    assert os.environ["HOME"] == "/home/u"


def test_steprun_home_of_a_user_who_does_not_exist(monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", "~nobody-of-that-name/x")
    assert paths.state_dir().name == "state"


def test_what_may_not_be_entered_has_nothing_in_it(monkeypatch, tmp_path):
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert listed(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert listed(tmp_path / "none") == []

    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert listed(tmp_path) == []
