"""The clipboard's pictures and texts, by fakes of the programs that read it."""

import base64
import io
import sys
import time

import pytest
from PIL import Image

from runner.base.errors import Refused
from runner.chat.images.load import picture_from_bytes
from runner.tui import clipboard_read
from runner.tui.clipboard_read import Clipboard, read_clipboard
from tests.fakes.clipboard_programs import fake_clipboard, fake_program
from tests.fakes.sse_server import End, Say
from tests.unit.tui.test_app import chat, user_home  # noqa: F401 - a fixture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fakes are shell scripts")

WAYLAND = {"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}
X11 = {"DISPLAY": ":0"}
WSL = {"WSL_DISTRO_NAME": "Ubuntu"}
TEXT = "text/plain;charset=utf-8"


def drawn(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(out, kind)
    return out.getvalue()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """An empty PATH, for the fakes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def read(environ, *, platform="linux", prefer_text=False):
    return read_clipboard(platform=platform, environ=environ, prefer_text=prefer_text)


@pytest.mark.parametrize(("program", "environ"), [("wl-paste", WAYLAND), ("xclip", X11)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_bitmap_is_read(programs, program, environ, kind):
    data = drawn(kind)
    fake_clipboard(programs, program, {"TARGETS": b"", f"image/{kind.lower()}": data})
    found = read(environ)
    assert found == Clipboard(data, suffix={"JPEG": "jpg"}.get(kind, kind.lower()))
    assert picture_from_bytes(found.picture, "it").width == 300


@pytest.mark.parametrize(("program", "environ"), [("wl-paste", WAYLAND), ("xclip", X11)])
def test_text_is_read_and_counts_where_it_is_preferred(programs, program, environ):
    fake_clipboard(programs, program, {"image/png": drawn(), TEXT: "né\n".encode()})
    assert read(environ).picture == drawn()
    assert read(environ, prefer_text=True) == Clipboard(text="né\n")


def test_the_best_kind_is_taken(programs):
    fake_clipboard(programs, "wl-paste", {"image/bmp": drawn("BMP"), "image/png": drawn()})
    assert read(WAYLAND).picture == drawn()


def test_powershell_reads_the_clipboard_of_windows(programs):
    lines = f"echo picture {base64.b64encode(drawn()).decode()}; echo text {'aGk='}"
    fake_program(programs, "powershell.exe", lines)
    assert read(WSL) == Clipboard(drawn(), "hi")
    fake_program(programs, "powershell.exe", "echo 'picture %%%'; echo noise")
    with pytest.raises(Refused, match="neither a picture nor text"):
        read(WSL)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_pillow_reads_the_clipboard_elsewhere(programs, monkeypatch, platform):
    line = f"echo picture {base64.b64encode(drawn()).decode()}"
    monkeypatch.setattr(sys, "executable", str(fake_program(programs, "python", line)))
    assert read({}, platform=platform) == Clipboard(drawn())


@pytest.mark.parametrize(
    ("environ", "platform", "why", "advice"),
    [
        (WAYLAND, "linux", "wl-paste is not installed", "wl-clipboard"),
        (X11, "linux", "xclip is not installed", "xclip"),
        ({"SSH_CONNECTION": "1"}, "linux", "on the other machine", "scp"),
        ({"SSH_CONNECTION": "1"}, "darwin", "on the other machine", "scp"),
        ({}, "linux", "has no desktop", "/image PATH"),
    ],
)
def test_why_it_cannot_be_read_and_what_to_do(programs, environ, platform, why, advice):
    with pytest.raises(Refused) as refused:
        read(environ, platform=platform)
    assert why in refused.value.why
    assert advice in refused.value.next


def test_an_empty_clipboard(programs):
    fake_clipboard(programs, "wl-paste", {}, code=1)
    with pytest.raises(Refused, match="found nothing on the clipboard"):
        read(WAYLAND)
    fake_clipboard(programs, "wl-paste", {"application/x-thing": b"1"})
    with pytest.raises(Refused, match="neither a picture nor text"):
        read(WAYLAND)


def test_a_program_that_hangs_is_ended_with_what_it_started(programs, monkeypatch):
    monkeypatch.setattr(clipboard_read, "PATIENCE_S", 0.2)
    fake_program(programs, "wl-paste", "/bin/sleep 60")  # its child holds the output open
    began = time.monotonic()
    with pytest.raises(Refused, match="did not answer"):
        read(WAYLAND)
    assert time.monotonic() - began < 20


def test_a_program_that_floods_is_ended(programs, monkeypatch):
    monkeypatch.setattr(clipboard_read, "FILE_BYTES", 1 << 20)
    flood = "case $* in *list*) echo image/png;; *) while :; do echo flooooooooooood; done;; esac"
    fake_program(programs, "wl-paste", flood)
    with pytest.raises(Refused, match="more than 1 MiB"):
        read(WAYLAND)


def test_a_program_that_fails_while_it_prints(programs):
    fake_program(programs, "xclip", "case $* in *TARGETS*) echo image/png;; *) exit 7;; esac")
    with pytest.raises(Refused, match="exit code 7"):
        read(X11)


# --- in the chat ------------------------------------------------------------------------------


@pytest.fixture
def desktop(programs, monkeypatch):
    for name in ("SSH_CONNECTION", "WSL_DISTRO_NAME", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(sys, "platform", "linux")
    return programs


@pytest.mark.parametrize("key", ["ctrl+v", "alt+v"])
async def test_a_key_attaches_the_bitmap(desktop, key):
    fake_clipboard(desktop, "wl-paste", {"image/png": drawn()})
    async with chat([Say("Red."), End()]) as c:
        await c.pilot.press(key)
        await c.sees("[Image #1] clipboard ", ".png 300")
        await c.type("what is it?")
        await c.sees("Red.")
        assert len(c.server.requests[0]["messages"][0]["content"]) == 2


async def test_the_command_and_an_empty_paste_attach_the_bitmap(desktop):
    fake_clipboard(desktop, "wl-paste", {"image/jpeg": drawn("JPEG")})
    async with chat() as c:
        await c.type("/paste")
        await c.sees("[Image #1] clipboard ", ".jpg 300")
        await c.paste("")
        await c.sees("[Image #2] clipboard ")


async def test_ctrl_v_pastes_text(desktop):
    fake_clipboard(desktop, "wl-paste", {"image/png": drawn(), TEXT: b"some words"})
    async with chat() as c:
        await c.pilot.press("ctrl+v")
        await c.sees("some words")
        await c.pilot.press("alt+v")
        await c.sees("[Image #1] clipboard ")


async def test_what_was_copied_in_the_chat_is_pasted_where_no_desktop_is(desktop, monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY")
    async with chat() as c:
        c.app.copy_to_clipboard("copied before")
        await c.pilot.press("ctrl+v")
        await c.sees("copied before")
        await c.pilot.press("alt+v")
        await c.reads("The clipboard cannot be read.", "has no desktop", "/image PATH")


async def test_a_chat_that_does_not_see_says_so_to_a_bitmap(desktop):
    fake_clipboard(desktop, "wl-paste", {"image/png": drawn()})
    async with chat(sees=False) as c:
        await c.pilot.press("ctrl+v")
        await c.sees("cannot take images")


async def test_a_spoiled_bitmap_is_refused(desktop):
    fake_clipboard(desktop, "wl-paste", {"image/png": drawn()[:100]})
    async with chat() as c:
        await c.pilot.press("ctrl+v")
        await c.sees("cannot be used as an image")
        assert not c.app.composer.pictures
