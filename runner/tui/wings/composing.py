"""Composing: earlier messages found again, and the user's own editor for a long one."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from textual.app import SuspendNotSupported

from runner.base.errors import Refused, SteprunError
from runner.tui.actions import Action
from runner.tui.chooser import ROW_CHARS, Choice, Chooser
from runner.tui.composer import PASTE_BYTES
from runner.tui.editor import edit_text, editor_command
from runner.tui.shared import EDITOR
from runner.tui.wings.wing import Wing

TAKE_IN_S: Final = 0.3  # of the index, before the list opens: what was said in other windows
MOST_EARLIER: Final = 2000  # messages


class Composing(Wing):
    """Helps to write a message."""

    title = "Writing"

    def search_history(self, typed: str) -> None:
        """Search the messages of all chats; the chosen one is put where the cursor is."""
        self.chat.run_worker(
            self._search_history(typed), group="history", exclusive=True, exit_on_error=False
        )

    async def _search_history(self, typed: str) -> None:
        past = dict.fromkeys(reversed(self.chat.conversation.history()))
        title = "Earlier messages"
        try:
            await asyncio.to_thread(self.chat.shelf.take_in, TAKE_IN_S)
            past |= dict.fromkeys(await asyncio.to_thread(self.chat.shelf.questions, MOST_EARLIER))
        except SteprunError:
            title = "Earlier messages of this chat (the index of all cannot be read)"
        if not past:
            self.chat.hint("No earlier message.")
            return
        # Of a long one, the beginning is what one searches by.
        chooser = Chooser(title, [Choice(text[:ROW_CHARS], text) for text in past])
        chooser.filter.value = typed
        self.chat.push_screen(chooser, self._recalled)

    def _recalled(self, text: str | None) -> None:
        if text is not None:
            self.chat.composer.insert(text)
            self.chat.composer.prompt.focus()

    def open_editor(self, _: str) -> None:
        """Edit the message in the user's own editor."""
        self.edit(self.chat.composer.text, self._edited)

    def _edited(self, text: str) -> None:
        self.chat.composer.prompt.clear()
        self.chat.composer.insert(text)

    def edit(self, text: str, use: Callable[[str], None]) -> None:
        """Edit a text in the user's own editor; `use` gets what becomes of it."""
        try:
            argv = editor_command()
        except Refused as error:
            self.chat.problem(error)
        else:
            self.chat.run_worker(
                self._edit(argv, text, use), group="editor", exclusive=True, exit_on_error=False
            )

    async def _edit(self, argv: list[str], before: str, use: Callable[[str], None]) -> None:
        chat = self.chat
        edit = partial(edit_text, argv, before, PASTE_BYTES)
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
            use(text)

    actions = (
        Action(
            "composer.history",
            "search your messages in all chats, this chat's first",
            search_history,
            *("history", "[WORDS]"),
            keys=("ctrl+r",),
        ),
        EDITOR.by(open_editor, keys=("ctrl+g",)),
    )
