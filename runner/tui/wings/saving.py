"""Saving: the conversation as a document in a new file."""

import os
from pathlib import Path

from runner.base.errors import Refused
from runner.base.files import write_private
from runner.chat.export import to_markdown
from runner.tui.actions import Action
from runner.tui.wings.wing import Wing


class Saving(Wing):
    """Writes the conversation to a file that the user names."""

    title = "Save"

    def save(self, path: str) -> None:
        """Write the conversation to a new Markdown file."""
        chat = self.chat
        try:
            target = write_new(path, to_markdown(chat.conversation.turns, chat.setup.title))
        except Refused as error:
            chat.composer.give_back(f"/save {path}", ())
            chat.problem(Refused(error.what, why=error.why, next="Choose another file."))
        else:
            chat.hint(f"Saved to {target}")

    actions = (
        Action(
            *("chat.save", "save the chat to a new Markdown file", save, "save", "PATH"),
            needs_args=True,
        ),
    )


def write_new(typed: str, text: str) -> Path:
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
