"""Files: the conversation as a document of the kind that its name says, and a chat of a file."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from runner.base.errors import Refused, SteprunError
from runner.base.files import write_private
from runner.chat.as_html import to_html
from runner.chat.as_json import to_json
from runner.chat.export import to_markdown
from runner.chat.turn import Turn
from runner.tui.actions import Action
from runner.tui.wings.sessions import Sessions
from runner.tui.wings.wing import Wing

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


class Saving(Wing):
    """Writes the conversation to a file that the user names, and opens one that was written."""

    title = "Saving"

    def save(self, path: str) -> None:
        """Write the conversation to a new file, in a thread: pictures make it large."""
        self.chat.run_worker(self._save(path), group="save", exit_on_error=False)

    async def _save(self, path: str) -> None:
        chat = self.chat
        turns = list(chat.conversation.turns)
        try:
            target = await asyncio.to_thread(save_as, path, turns, chat.setup.title)
        except Refused as error:
            chat.composer.give_back(f"/save {path}", ())
            chat.problem(error)
        else:
            chat.hint(f"Saved to {target}")

    async def open_file(self, path: str) -> None:
        """Save the chat of a file as a new one, in a thread, and show it."""
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
            return
        self.chat.run_worker(self._open(path), group="open", exclusive=True, exit_on_error=False)

    async def _open(self, path: str) -> None:
        chat = self.chat
        try:
            made, lost = await asyncio.to_thread(_import, path)
        except SteprunError as error:
            chat.composer.give_back(f"/open {path}", ())
            chat.problem(error)
            return
        chat.call_later(self._show, made, lost)

    async def _show(self, made: str, lost: Sequence[str]) -> None:
        if await self.chat.wing(Sessions).open(made) and lost:
            self.chat.problem(*map(SteprunError, lost))

    actions = (
        Action(
            "chat.save",
            "save the chat to a new file: .md, .html with the images in it, or .json",
            save,
            *("save", "PATH"),
            needs_args=True,
        ),
        Action(
            "chat.open",
            "open a chat that was saved as .json, as a new one",
            open_file,
            *("open", "PATH"),
            needs_args=True,
        ),
    )


def _import(path: str) -> tuple[str, list[str]]:
    from runner.chat.sessions.importing import import_chat  # noqa: PLC0415 - when it is needed

    return import_chat(path)


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
