"""The user's own editor: which it is, and that its file is private and goes."""

import stat
import sys

import pytest

from runner.base.errors import Refused
from runner.tui.editor import edit_text, editor_command

SCRIPT = """
import pathlib, stat, sys
path = pathlib.Path(sys.argv[1])
mode = lambda which: oct(stat.S_IMODE(which.stat().st_mode))
pathlib.Path({seen!r}).write_text(f"{{path}} {{mode(path)}} {{mode(path.parent)}}")
path.write_text(path.read_text() + {added!r})
sys.exit({code})
"""


def editor(tmp_path, *, added="", code=0):
    script = tmp_path / "editor.py"
    script.write_text(SCRIPT.format(seen=str(tmp_path / "seen"), added=added, code=code))
    return [sys.executable, str(script)]


def test_the_editor_is_the_one_that_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert editor_command({"EDITOR": "vim", "VISUAL": "code --wait"}) == ["code", "--wait"]
    assert editor_command({"EDITOR": "vim"}) == ["vim"]
    assert editor_command({"EDITOR": " "})[0].startswith("/bin/")


@pytest.mark.parametrize("line", ["no-such-editor -x", "'open"])
def test_an_editor_that_is_not_installed_is_refused(line):
    with pytest.raises(Refused, match="VISUAL names"):
        editor_command({"VISUAL": line})


def test_without_any_editor_it_says_what_to_set(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(Refused, match="Set EDITOR"):
        editor_command({})


def test_a_text_is_edited_in_a_private_file_that_goes(tmp_path):
    assert edit_text(editor(tmp_path, added=" one\n"), "na\u00efve", 100) == "na\u00efve one"
    path, mode, folder = (tmp_path / "seen").read_text().split()
    if sys.platform != "win32":
        assert (mode, folder) == ("0o600", "0o700")
    assert path.endswith(".md")
    with pytest.raises(FileNotFoundError):
        stat.S_ISREG(__import__("os").stat(path).st_mode)


def test_an_editor_that_fails_changes_nothing(tmp_path):
    with pytest.raises(Refused, match="ended with status 3"):
        edit_text(editor(tmp_path, added="x", code=3), "text", 100)
    with pytest.raises(Refused, match="could not be used"):
        edit_text(["/no/such/program"], "text", 100)
    with pytest.raises(Refused, match="too long"):
        edit_text(editor(tmp_path, added="x" * 200), "text", 100)
