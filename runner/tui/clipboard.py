"""Copies text: by the terminal (OSC 52), and by the system's own program where there is one.

OSC 52 works over SSH, but some terminals (macOS's Terminal among them) ignore it without a word.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping

PATIENCE_S = 2.0


def copy_command(
    platform: str = sys.platform, environ: Mapping[str, str] = os.environ
) -> list[str] | None:
    """Return the program that puts its input on the clipboard, None where there is none."""
    if environ.get("SSH_CONNECTION"):
        return None  # the far machine's clipboard is not the user's
    candidates = {
        "darwin": [["pbcopy"]],
        "win32": [["clip.exe"]],
    }.get(platform, [])
    if platform.startswith("linux"):
        if environ.get("WAYLAND_DISPLAY"):
            candidates.append(["wl-copy"])
        if environ.get("DISPLAY"):
            candidates.append(["xclip", "-selection", "clipboard"])
    return next((argv for argv in candidates if shutil.which(argv[0])), None)


async def copy_by_program(text: str) -> bool:
    """Copy with the system's program. Returns whether that worked."""
    argv = copy_command()
    if argv is None:
        return False
    data = text.encode("utf-16-le" if sys.platform == "win32" else "utf-8", "replace")
    with contextlib.suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            await asyncio.wait_for(process.communicate(data), PATIENCE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return process.returncode == 0
    return False
