"""The clipboard program of a desktop."""

from runner.tui.clipboard import copy_command


def test_the_clipboard_program_is_of_this_desktop(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert copy_command("darwin", {}) == ["pbcopy"]
    assert copy_command("linux", {"WAYLAND_DISPLAY": "0", "DISPLAY": ":0"}) == ["wl-copy"]
    assert copy_command("linux", {"DISPLAY": ":0"}) == ["xclip", "-selection", "clipboard"]
    assert copy_command("linux", {}) is None
    assert copy_command("darwin", {"SSH_CONNECTION": "x"}) is None
