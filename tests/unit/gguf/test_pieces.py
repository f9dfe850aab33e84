"""Pieces of a file that want joining: the command that does it, and what is missing."""

import shlex
import subprocess
from pathlib import Path

import pytest

from runner.base.errors import BadFile, Exit, SteprunError
from runner.gguf import local_file, pieces
from tests.unit.gguf.test_header import SOUND


def told(path: Path) -> SteprunError:
    with pytest.raises(SteprunError) as caught:
        local_file.read_model(path)
    return caught.value


def cut(folder: Path, *names: str) -> list[Path]:
    """Write a sound model in as many pieces as there are names."""
    size = -(-len(SOUND) // len(names))
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.write_bytes(SOUND[size * number : size * (number + 1)])
    return paths


@pytest.mark.parametrize(
    "names",
    [
        ("M.gguf.part1of2", "M.gguf.part2of2"),
        ("M.gguf-split-a", "M.gguf-split-b", "M.gguf-split-c"),
        ("M.gguf.aa", "M.gguf.ab"),
        ("M.gguf.001", "M.gguf.002"),
        ("M.gguf.00000", "M.gguf.00001"),
        ("M.gguf.part-01", "M.gguf.part-02"),
        ("M.Q8_0.GGUF.PART1", "M.Q8_0.GGUF.PART2"),
        tuple(f"M.gguf.part{n}of12" for n in range(1, 13)),
    ],
)
@pytest.mark.parametrize("blanks", ["", "a folder's"])
def test_the_command_joins_them(tmp_path, names, blanks):
    folder = tmp_path / blanks
    folder.mkdir(exist_ok=True)
    paths = cut(folder, *names)
    whole = folder / names[0][: names[0].lower().index(".gguf") + len(".gguf")]
    for given in (*paths, folder, whole):
        error = told(given)
        assert error.exit_code == Exit.BAD_FILE
        assert error.next.startswith("cat ")
    assert "Download" not in str(error.next)
    subprocess.run(error.next, shell=True, check=True)
    assert whole.read_bytes() == SOUND
    assert local_file.read_model(whole)
    assert f"--model {shlex.quote(str(whole))}" in (told(paths[0]).next or "")


@pytest.mark.parametrize(
    ("names", "lost", "missing"),
    [
        (("M.gguf.part1of3", "M.gguf.part2of3", "M.gguf.part3of3"), 1, "piece 2"),
        (("M.gguf.part1of2", "M.gguf.part2of2"), 0, "piece 1"),
        (("M.gguf-split-a", "M.gguf-split-b", "M.gguf-split-c"), 1, "piece b"),
        (("M.gguf.aa", "M.gguf.ab", "M.gguf.ac"), 0, "piece aa"),
    ],
)
def test_a_missing_piece_is_named(tmp_path, names, lost, missing):
    paths = cut(tmp_path, *names)
    paths.pop(lost).unlink()
    error = told(paths[0])
    assert isinstance(error, BadFile)
    assert missing in (error.why or "")
    assert "other pieces" in (error.next or "")


def test_other_names_are_no_pieces(tmp_path):
    for name in ("M.gguf", "M.gguf.tmp", "M.gguf.bak", "M-00001-of-00002.gguf", "M.gguf.gz"):
        assert not pieces.is_piece(name)
    again = tmp_path / "M.gguf.1"  # wget's name for a second download: a whole file
    again.write_bytes(SOUND)
    assert local_file.read_model(again)


def test_a_piece_on_the_network_is_no_broken_download():
    error = pieces.on_network("M.gguf.part2of2")
    assert error is not None
    assert "joining" in (error.why or "")
    assert pieces.on_network("M-00001-of-00002.gguf") is None


def test_windows_has_its_own_command():
    names = [Path("my models") / f"M.gguf.part{n}of2" for n in (1, 2)]
    command = pieces.join_command(names, Path("my models") / "M.gguf", windows=True)
    assert command.startswith('copy /b "my models')
    assert command.count('"+"') == 1


def test_names_that_try_to_be_clever(tmp_path):
    (tmp_path / "M.gguf.part1of99999").write_bytes(SOUND[:99])
    why = told(tmp_path / "M.gguf.part1of99999").why or ""
    assert len(why) < 200
    sly = cut(tmp_path, "$(touch x);.gguf.aa", "$(touch x);.gguf.ab")
    subprocess.run(told(sly[0]).next or "", shell=True, check=True, cwd=tmp_path)
    assert not (tmp_path / "x").exists()
