"""Composing: earlier messages found again, and the user's own editor for a long one."""

import asyncio
from functools import partial

from textual.app import SuspendNotSupported

from runner.base.errors import Refused, SteprunError
from runner.tui.actions import Action
from runner.tui.chooser import Choice, Chooser
from runner.tui.composer import PASTE_BYTES
from runner.tui.editor import edit_text, editor_command
from runner.tui.shared import EDITOR
from runner.tui.wings.wing import Wing


class Composing(Wing):
    """Helps to write a message."""

    title = "Writing"

    def search_history(self, typed: str) -> None:
        """Search the messages of this chat; the chosen one is put where the cursor is."""
        past = dict.fromkeys(reversed(self.chat.conversation.history()))
        if not past:
            self.chat.hint("No earlier message in this chat.")
            return
        chooser = Chooser("Earlier messages", [Choice(text, text) for text in past])
        chooser.filter.value = typed
        self.chat.push_screen(chooser, self._recalled)

    def _recalled(self, text: str | None) -> None:
        if text is not None:
            self.chat.composer.insert(text)
            self.chat.composer.prompt.focus()

    def open_editor(self, _: str) -> None:
        """Edit the message in the user's own editor."""
        try:
            argv = editor_command()
        except Refused as error:
            self.chat.problem(error)
        else:
            self.chat.run_worker(
                self._edit(argv), group="editor", exclusive=True, exit_on_error=False
            )

    async def _edit(self, argv: list[str]) -> None:
        chat = self.chat
        edit = partial(edit_text, argv, chat.composer.text, PASTE_BYTES)
        try:
            # Nothing is drawn over the editor, while an answer goes on arriving.
            with chat.batch_update(), chat.suspend():
                text = await asyncio.to_thread(edit)
        except SuspendNotSupported:
            chat.problem(
                Refused(
                    "The editor cannot be opened here.",
                    why="This terminal cannot be handed to another program.",
                )
            )
        except SteprunError as error:
            chat.problem(error)
        else:
            chat.composer.prompt.clear()
            chat.composer.insert(text)

    actions = (
        Action(
            "composer.history",
            "search the messages of this chat",
            search_history,
            *("history", "[WORDS]"),
            keys=("ctrl+r",),
        ),
        EDITOR.by(open_editor, keys=("ctrl+g",)),
    )
