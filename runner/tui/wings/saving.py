"""Saving: the conversation as a document in a new file, of the kind that its name says."""

import asyncio

from runner.base.errors import Refused
from runner.tui.save_as import save_as
from runner.tui.shared import SAVE
from runner.tui.wings.wing import Wing


class Saving(Wing):
    """Writes the conversation to a file that the user names."""

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

    actions = (SAVE.by(save),)
