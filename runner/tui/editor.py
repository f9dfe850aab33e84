"""Writes a text in the user's own editor. The file is private and does not outlive it."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runner.base.errors import Refused
from runner.base.files import write_private

# Where neither variable is set: what a system has. The first that is installed is taken.
FALLBACKS: Final = ("notepad",) if sys.platform == "win32" else ("nano", "vi")


def editor_command(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the words of the editor's command: VISUAL, EDITOR, or one that is installed.

    Raises `Refused` where there is none, or where the variable is not a command.
    """
    for name in ("VISUAL", "EDITOR"):
        if line := environ.get(name, "").strip():
            words = _words(line)
            if words and shutil.which(words[0]):
                return words
            raise Refused(
                "The editor cannot be started.",
                why=f"{name} names {line[:60]!r}, which is not a program of this computer.",
                next=f"Set {name} to one that is installed, and start the chat again.",
            )
    for name in FALLBACKS:
        if found := shutil.which(name):
            return [found]
    raise Refused(
        "No editor was found.",
        why="Neither VISUAL nor EDITOR is set.",
        next="Set EDITOR to the name of your editor, and start the chat again.",
    )


def _words(line: str) -> list[str]:
    if sys.platform == "win32":  # there a backslash parts folders
        return [word.strip('"') for word in shlex.split(line, posix=False)]
    try:
        return shlex.split(line)
    except ValueError:  # a quote that is not closed
        return []


def edit_text(argv: list[str], text: str, limit: int) -> str:
    """Return `text` as the user has edited it. Blocks until the editor is closed.

    Raises `Refused` where it failed, or where the text has more than `limit` bytes.
    """
    try:
        # The folder has mode 0700: what editors leave beside the file is as private as the file.
        with tempfile.TemporaryDirectory(prefix="steprun-message-") as folder:
            path = Path(folder) / "message.md"
            write_private(path, text)
            code = subprocess.run([*argv, str(path)], check=False).returncode
            if code:
                raise Refused(
                    "The editor failed, and your text is as it was.",
                    why=f"{argv[0]} ended with status {code}.",
                )
            with path.open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise Refused(
            "The editor could not be used, and your text is as it was.",
            why=f"{error.strerror or error}.",
        ) from error
    if len(data) > limit:
        raise Refused(
            "The edited text is too long, and your text is as it was.",
            why=f"The limit is {limit:,} bytes.",
            next="Edit it again and keep a part.",
        )
    # Editors end a file with a line feed that nobody typed.
    return data.decode("utf-8", "replace").removesuffix("\n")
