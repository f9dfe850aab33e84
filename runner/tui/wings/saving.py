"""Files: the conversation as a document of the kind that its name says, and a chat of a file."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from runner.base.errors import Refused, SteprunError
from runner.chat.turn import Turn
from runner.tui.shared import OPEN, SAVE
from runner.tui.wings.sessions import Sessions
from runner.tui.wings.wing import Wing


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
            target = await asyncio.to_thread(_save_as, path, turns, chat.setup.title)
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
        SAVE.by(save),
        OPEN.by(open_file),
    )


def _import(path: str) -> tuple[str, list[str]]:
    from runner.chat.sessions.importing import import_chat  # noqa: PLC0415 - when it is needed

    return import_chat(path)


def _save_as(path: str, turns: Sequence[Turn], title: str) -> Path:
    from runner.tui.save_as import save_as  # noqa: PLC0415 - when it is needed

    return save_as(path, turns, title)
