"""Files are written whole and for the user alone; a fault leaves a trace."""

import os
from pathlib import Path

import pytest

from runner.base.errors import Refused
from runner.base.files import write_private, write_trace


def fail() -> None:
    raise RuntimeError("a mistake in \udcff.png")


def fault() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        fail()
    return caught.value


@pytest.mark.parametrize(
    ("data", "written"),
    [("\xe4\n", b"\xc3\xa4\n"), (b"\xff\r\n", b"\xff\r\n"), ("\ud83d", b"\\ud83d")],
)
def test_text_and_bytes_are_written_as_they_are(tmp_path, data, written):
    path = tmp_path / "new" / "folder" / "file"
    write_private(path, data)
    assert path.read_bytes() == written
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_private(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runner.base.files.os.fsync", full)
    with pytest.raises(Refused, match="cannot be written") as caught:
        write_private(path, b"new")
    assert "No space left" in caught.value.why
    assert caught.value.next.startswith("Free some space")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name_leaves_room_for_the_one_beside_it(tmp_path):
    write_private(tmp_path / ("x" * 250), b"")


def test_each_fault_leaves_a_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    one, two = write_trace(fault()), write_trace(fault())
    assert isinstance(one, Path)
    assert isinstance(two, Path)
    assert one != two
    assert sorted((tmp_path / "state" / "logs").glob("error-*.log")) == sorted([one, two])
    assert "in fail" in one.read_text()
    assert "RuntimeError: a mistake in \\udcff.png" in one.read_text()
    if os.name == "posix":
        assert one.stat().st_mode & 0o777 == 0o600


def test_where_there_is_no_place_for_a_trace_it_is_returned(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file in the way")
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    said = write_trace(fault())
    assert isinstance(said, str)
    assert "no log could be written" in said
    assert "in fail" in said
