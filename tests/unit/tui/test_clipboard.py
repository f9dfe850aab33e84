"""The clipboard program of a desktop."""

import sys

import pytest

from runner.tui.clipboard import copy_by_program, copy_command


def test_the_clipboard_program_is_of_this_desktop(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert copy_command("darwin", {}) == ["pbcopy"]
    assert copy_command("linux", {"WAYLAND_DISPLAY": "0", "DISPLAY": ":0"}) == ["wl-copy"]
    assert copy_command("linux", {"DISPLAY": ":0"}) == ["xclip", "-selection", "clipboard"]
    assert copy_command("linux", {}) is None
    assert copy_command("darwin", {"SSH_CONNECTION": "x"}) is None


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
def test_the_text_reaches_the_program(monkeypatch, tmp_path):
    out = tmp_path / "out"
    argv = ["sh", "-c", f"cat > {out}"]
    monkeypatch.setattr("runner.tui.clipboard.copy_command", lambda: argv)
    copy_by_program("na\u00efve \ud83d")
    assert out.read_text("utf-8") == "na\u00efve ?"


def test_a_program_that_is_missing_or_hangs_is_left(monkeypatch):
    monkeypatch.setattr("runner.tui.clipboard.PATIENCE_S", 0.01)
    hangs = [sys.executable, "-c", "import time; time.sleep(60)"]
    for argv in (None, ["/no/such/program"], hangs):
        monkeypatch.setattr("runner.tui.clipboard.copy_command", lambda argv=argv: argv)
        copy_by_program("text")
