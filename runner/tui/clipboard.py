"""Copies text: by the terminal (OSC 52), and by the system's own program where there is one.

OSC 52 works over SSH, but some terminals (macOS's Terminal among them) ignore it without a word.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from subprocess import DEVNULL

PATIENCE_S = 2.0


def copy_command(
    platform: str = sys.platform, environ: Mapping[str, str] = os.environ
) -> list[str] | None:
    """Return the program that puts its input on the clipboard, None where there is none."""
    if environ.get("SSH_CONNECTION"):
        return None  # the far machine's clipboard is not the user's
    candidates = {"darwin": [["pbcopy"]], "win32": [["clip.exe"]]}.get(platform, [])
    if platform.startswith("linux"):
        if environ.get("WAYLAND_DISPLAY"):
            candidates.append(["wl-copy"])
        if environ.get("DISPLAY"):
            candidates.append(["xclip", "-selection", "clipboard"])
    return next((argv for argv in candidates if shutil.which(argv[0])), None)


def copy_by_program(text: str) -> None:
    """Copy with the system's program, where there is one. Blocks, for `PATIENCE_S` at most."""
    argv = copy_command()
    if argv is not None:
        data = text.encode("utf-16-le" if sys.platform == "win32" else "utf-8", "replace")
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                argv, input=data, stdout=DEVNULL, stderr=DEVNULL, timeout=PATIENCE_S, check=False
            )
