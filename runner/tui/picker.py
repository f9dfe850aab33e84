"""The list of saved chats: open one, search by title, rename, delete."""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input

from runner.base import units
from runner.chat.sessions.index import ChatTitle
from runner.tui.chooser import PLACEHOLDER, Choice, Chooser, matching

DAY_S: Final = 86_400.0
NAME_CHARS: Final = 72  # a title of one row


def when(last_used: float, now: float) -> str:
    """Return when something was used: `14:05` within a day, else `2026-11-27`. Pure but for TZ."""
    form = "%H:%M" if 0 <= now - last_used < DAY_S else "%Y-%m-%d"
    try:
        return time.strftime(form, time.localtime(last_used))
    except (OverflowError, OSError, ValueError):  # a clock that was far off
        return ""


def chat_row(chat: ChatTitle, now: float) -> Choice:
    """Return a chat as a row of the list."""
    answers = "1 answer" if chat.answers == 1 else f"{chat.answers:,} answers"
    parts = (when(chat.last_used, now), chat.answers and answers, units.size(chat.bytes))
    return Choice(chat.title or chat.id, chat, " · ".join(part for part in parts if part))


class ChatPicker(Chooser):
    """Returns the chat to open. `rename` and `delete` are told what the user wants."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "rename", "Rename", id="picker.rename", priority=True),
        Binding("delete", "delete", "Delete", id="picker.delete", priority=True),
        Binding("escape", "back", "Back", id="picker.back", priority=True),
    ]

    def __init__(
        self,
        chats: Sequence[ChatTitle],
        *,
        rename: Callable[[ChatTitle, str], None],
        delete: Callable[[ChatTitle], None],
    ) -> None:
        now = time.time()
        total = units.size(sum(chat.bytes for chat in chats))
        super().__init__(
            f"Chats, {total}",
            [chat_row(chat, now) for chat in chats],
            keys="F2 renames · Delete deletes",
        )
        self._rename, self._delete = rename, delete
        self._renaming: ChatTitle | None = None
        self._deleting: ChatTitle | None = None

    @property
    def _chat(self) -> ChatTitle | None:
        return self.marked.value if self.marked is not None else None

    def replace(self, chats: Sequence[ChatTitle]) -> None:
        """Show the chats as they are now, with the mark on the same chat, else where it was."""
        now, marked, place = time.time(), self._chat, self.list.highlighted or 0
        self.choices = [chat_row(chat, now) for chat in chats]
        found = matching(self.choices, self.filter.value)
        # A chat that was renamed counts as used just now: it is first in the list.
        same = (n for n, row in enumerate(found) if marked and row.value.id == marked.id)
        self.show(next(same, place))

    def explain(self, text: str) -> None:
        """Show a message in the line above the list."""
        self.headline(Content(text))

    def action_rename(self) -> None:
        """Ask for a new name."""
        if (chat := self._chat) is not None and self._renaming is None:
            self._deleting, self._renaming = None, chat
            self.list.display = False
            self.filter.placeholder = "New name"
            with self.prevent(Input.Changed):
                self.filter.value = chat.title
            self.filter.cursor_position = len(chat.title)
            self.explain("Type the new name. Enter keeps it, Esc leaves the old one.")

    def action_delete(self) -> None:
        """Ask once, then have the chat deleted."""
        chat = self._chat
        if self._renaming is not None:
            self.filter.action_delete_right()
        elif chat is not None and chat is self._deleting:
            self._deleting = None
            self._delete(chat)
        elif chat is not None:
            self._deleting = chat
            self.explain(
                f"Delete {chat.title or chat.id} for good? Delete again does, Esc does not."
            )

    def action_back(self) -> None:
        """Leave the renaming or the deletion, or close the list."""
        if self._renaming is not None or self._deleting is not None:
            self._stop()
        else:
            self.dismiss(None)

    def action_move(self, where: str) -> None:
        """Move the mark; a deletion that was asked about is off."""
        if self._renaming is None:
            if self._deleting is not None:
                self._stop()
            super().action_move(where)

    def typed(self) -> None:
        """Narrow the list down; a deletion that was asked about is off."""
        if self._renaming is None:
            self._deleting = None
            super().typed()

    def entered(self) -> None:
        """Open the chat, or keep its new name."""
        if self._renaming is None:
            super().entered()
            return
        chat, name = self._renaming, " ".join(self.filter.value.split())[:NAME_CHARS]
        self._stop()
        if name and name != chat.title:
            self._rename(chat, name)

    def _stop(self) -> None:
        renamed = self._renaming is not None
        self._renaming = self._deleting = None
        self.list.display = True
        self.filter.placeholder = PLACEHOLDER
        if renamed:
            with self.prevent(Input.Changed):
                self.filter.value = ""
        self.show(self.list.highlighted or 0)
