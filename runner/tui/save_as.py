"""A chat as a document in a new file, of the kind that its name says."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from runner.base.errors import Refused
from runner.base.files import write_private
from runner.chat.as_html import to_html
from runner.chat.as_json import to_json
from runner.chat.export import to_markdown
from runner.chat.turn import Turn

# Returns the conversation as a document; its last argument is the model's name.
Write = Callable[[Sequence[Turn], str], str]

FORMATS: Final[Mapping[str, Write]] = {
    ".md": to_markdown,
    ".markdown": to_markdown,
    ".txt": to_markdown,
    "": to_markdown,
    ".html": to_html,
    ".htm": to_html,
    ".json": to_json,
}


def save_as(typed: str, turns: Sequence[Turn], title: str) -> Path:
    """Write a conversation to a new file; return its path.

    Raises `Refused` where the kind of file is unknown, or where the file cannot be written.
    """
    suffix = os.path.splitext(typed)[1].lower()  # noqa: PTH122 - Path raises for some texts
    if (write := FORMATS.get(suffix)) is None:
        raise Refused(
            f"A chat cannot be saved as {suffix[:20]}.",
            why="It can be Markdown (.md), a web page (.html) or JSON (.json).",
            next="Choose one of these endings.",
        )
    try:
        return _write_new(typed, write(turns, title))
    except Refused as error:
        raise Refused(error.what, why=error.why, next="Choose another file.") from error


def _write_new(typed: str, text: str) -> Path:
    """Write a new file; return its path. Raises `Refused`, also where one exists."""
    try:
        path = Path(typed).expanduser()
        if os.path.lexists(path):  # a dangling link exists, too
            raise Refused(f"{typed} already exists.")
        if not path.parent.is_dir():  # a mistyped folder is not to be made
            raise Refused(
                f"{typed} cannot be written.", why=f"The folder {path.parent} does not exist."
            )
        write_private(path, text)
    except (OSError, ValueError, RuntimeError) as error:  # no home, an impossible name
        raise Refused(f"{typed} cannot be written.", why=f"{error}.") from error
    return path
