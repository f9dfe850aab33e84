"""Reads the clipboard of the desktop: a picture or text, or why there is neither. Blocks.

By the desktop's own programs, each bounded in time and in what it may print.
"""

import base64
import binascii
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE
from typing import Final

from runner.base.errors import Refused
from runner.chat.images.load import FILE_BYTES

PATIENCE_S: Final = 5.0  # for each program; PowerShell takes a second or two to start
TEXT_BYTES: Final = 4 << 20  # more than a paste may have, so that the chat says that it is too long
TYPES_BYTES: Final = 64 << 10
# The kinds of pictures that a clipboard offers, the best first: PNG is exact and needs no change.
PICTURES: Final = ("png", "jpeg", "webp", "tiff", "bmp", "gif", "avif", "heic")
TEXTS: Final = ("text/plain;charset=utf-8", "UTF8_STRING", "text/plain", "STRING", "text/uri-list")
GRAB: Final = "runner.tui.clipboard_grab"  # by Pillow, on macOS and Windows

# What PowerShell prints: a line for the picture and one for the text, each in base64.
POWERSHELL: Final = """
Add-Type -AssemblyName System.Windows.Forms, System.Drawing
$c = [System.Windows.Forms.Clipboard]
if ($c::ContainsImage()) {
  $s = New-Object System.IO.MemoryStream
  $c::GetImage().Save($s, [System.Drawing.Imaging.ImageFormat]::Png)
  'picture ' + [Convert]::ToBase64String($s.ToArray())
}
if ($c::ContainsText()) {
  'text ' + [Convert]::ToBase64String([System.Text.Encoding]::UTF8.GetBytes($c::GetText()))
}
"""


@dataclass(frozen=True, slots=True)
class Clipboard:
    """What was on the clipboard: the bytes of a picture file, or else text, or neither."""

    picture: bytes = b""
    text: str = ""
    suffix: str = "png"


def read_clipboard(
    *,
    prefer_text: bool = False,
    platform: str = sys.platform,
    environ: Mapping[str, str] = os.environ,
) -> Clipboard:
    """Return what is on the clipboard. Raises `Refused` where it has nothing, or cannot be read.

    `prefer_text`: where it has both, as of a table that was copied, the text counts.
    """
    if platform in {"darwin", "win32"}:
        if environ.get("SSH_CONNECTION"):
            raise _elsewhere()
        found = _grabbed([sys.executable, "-P", "-m", GRAB])
    elif "WSL_DISTRO_NAME" in environ and shutil.which("powershell.exe"):
        script = base64.b64encode(POWERSHELL.encode("utf-16-le")).decode()
        found = _grabbed(["powershell.exe", "-NoProfile", "-STA", "-EncodedCommand", script])
    elif environ.get("WAYLAND_DISPLAY"):
        found = _offered("wl-paste", "wl-clipboard", ["--list-types"], ["--no-newline", "--type"])
    elif environ.get("DISPLAY"):
        of_clipboard = ["-selection", "clipboard", "-o", "-t"]
        found = _offered("xclip", "xclip", [*of_clipboard, "TARGETS"], of_clipboard)
    elif environ.get("SSH_CONNECTION"):
        raise _elsewhere()
    else:
        raise Refused(
            "The clipboard cannot be read.",
            why="Neither DISPLAY nor WAYLAND_DISPLAY is set: this session has no desktop.",
            next="Save the picture as a file, then type /image PATH.",
        )
    if prefer_text and found.text:
        return Clipboard(text=found.text)
    if not found.picture and not found.text:
        raise _nothing("Its content is neither a picture nor text.")
    return found


def _elsewhere() -> Refused:
    return Refused(
        "The clipboard cannot be read.",
        why="This is an SSH session: the clipboard is on the other machine.",
        next="Copy the picture to this machine (scp), then type /image PATH.",
    )


def _nothing(why: str) -> Refused:
    return Refused("Nothing was pasted.", why=why, next="Copy a picture or text first.")


# --- programs that print all at once ----------------------------------------------------------


def _grabbed(argv: Sequence[str]) -> Clipboard:
    """Return what a program prints: lines of `picture` or `text`, and what it is in base64."""
    printed = _run(argv, 2 * FILE_BYTES)
    kinds: dict[bytes, bytes] = {}
    for line in printed.splitlines():
        kind, _, data = line.strip().partition(b" ")
        with suppress(binascii.Error):
            kinds[kind] = base64.b64decode(data, validate=True)
    return Clipboard(kinds.get(b"picture", b""), kinds.get(b"text", b"").decode("utf-8", "replace"))


# --- programs that list what there is -----------------------------------------------------------


def _offered(
    program: str, package: str, list_types: Sequence[str], take: Sequence[str]
) -> Clipboard:
    if shutil.which(program) is None:
        raise Refused(
            "The clipboard cannot be read.",
            why=f"{program} is not installed.",
            next=f"Install {package}, such as with: sudo apt install {package}",
        )
    try:
        types = _run([program, *list_types], TYPES_BYTES).decode("utf-8", "replace").split("\n")
    except _ProgramFailed as error:
        # Both fail where the clipboard is empty.
        raise _nothing(f"{program} found nothing on the clipboard.") from error
    types = [each.strip() for each in types]
    picture = next((kind for kind in PICTURES if f"image/{kind}" in types), "")
    text = next((kind for kind in TEXTS if kind in types), "")
    data = _run([program, *take, f"image/{picture}"], FILE_BYTES) if picture else b""
    words = _run([program, *take, text], TEXT_BYTES) if text else b""
    suffix = "jpg" if picture == "jpeg" else picture
    return Clipboard(data, words.decode("utf-8", "replace"), suffix or "png")


# --- running them -------------------------------------------------------------------------------


class _ProgramFailed(Refused):
    """A program ended with an error."""


def _run(argv: Sequence[str], most: int) -> bytes:
    """Return what a program prints, `most` bytes of it. Raises `Refused`."""
    name = "Pillow" if GRAB in argv else argv[0]
    try:
        process = subprocess.Popen(
            argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise Refused(
            "The clipboard cannot be read.", why=f"{name}: {error.strerror or error}."
        ) from error
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(PATIENCE_S, stop)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with process.stdout as printed:
            data = printed.read(most + 1)
        if len(data) <= most:
            process.wait()
    finally:
        timer.cancel()
        if process.returncode is None:
            _kill(process)
        code = process.wait()
    if late.is_set():
        raise Refused(
            "The clipboard cannot be read.",
            why=f"{name} did not answer within {PATIENCE_S:.0f} s.",
            next="Copy the picture again, or save it as a file and type /image PATH.",
        )
    if len(data) > most:
        raise Refused(
            "The clipboard has too much.",
            why=f"{name} printed more than {most >> 20} MiB.",
            next="Save the picture as a smaller file, then type /image PATH.",
        )
    if code:
        raise _ProgramFailed(
            "The clipboard cannot be read.",
            why=f"{name} failed (exit code {code}).",
            next="Save the picture as a file, then type /image PATH.",
        )
    return data


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a program and what it has started: that may hold its output open."""
    with suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
