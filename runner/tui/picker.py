"""The list of saved chats: open one, search their titles and texts, rename and delete them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input
from textual.worker import Worker

from runner.base import units
from runner.base.errors import SteprunError
from runner.chat.sessions.index import ChatTitle
from runner.tui.chooser import PLACEHOLDER, Choice, Chooser, matching

if TYPE_CHECKING:
    from runner.chat.sessions.word_index import ChatHit, IndexState

MARK: Final = "● "
DAY_S: Final = 86_400.0
NAME_CHARS: Final = 72  # a title of one row
HIT_TITLE: Final = 26  # characters of a title beside a piece of a text
TAKE_IN_S: Final = 0.5  # of a step of the index
PAUSE_S: Final = 0.15  # after a key: who types on is not searched for in between
LEAST: Final = 2  # characters that are looked for in texts: one Chinese word has as many


class Searched(Protocol):
    """What the picker asks of the saved chats, in a thread."""

    def take_in(self, seconds: float) -> "IndexState":
        """Bring the index up to date."""
        ...

    def search(self, typed: str) -> "Sequence[ChatHit]":
        """Return the chats that have the words."""
        ...


@dataclass(frozen=True, slots=True)
class PickedChat:
    """A chat that was chosen, and what in its texts was found."""

    chat: ChatTitle
    hit: "ChatHit | None" = None


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
    detail = " · ".join(part for part in parts if part)
    return Choice(chat.title or chat.id, PickedChat(chat), detail)


def _title(rows: Sequence[Choice], image_bytes: int = 0) -> str:
    total = units.size(sum(row.value.chat.bytes for row in rows))
    images = f" and {units.size(image_bytes)} of images" if image_bytes else ""
    return f"{total}{images} on the disk" if rows else ""


def _with_mark(row: Choice, *, marked: bool) -> Choice:
    return replace(row, text=f"{MARK if marked else ''}{row.text.removeprefix(MARK)}")


def chat_rows(chats: Sequence[ChatTitle]) -> list[Choice]:
    """Return chats as rows of the list. Of thousands it takes a moment: call it in a thread."""
    now = time.time()
    return [chat_row(chat, now) for chat in chats]


def hit_row(chat: ChatTitle, hit: "ChatHit") -> Choice:
    """Return a piece of a chat's text as a row of the list."""
    title = chat.title or chat.id
    title = title if len(title) <= HIT_TITLE else f"{title[: HIT_TITLE - 1].rstrip()}…"
    return Choice(title, PickedChat(chat, hit), hit.piece)


class ChatPicker(Chooser):
    """Returns the chat to open. `rename` and `delete` are told what the user wants.

    `saved`: where the texts of the chats are searched, None: only their titles are.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "rename", "Rename", id="picker.rename", priority=True),
        Binding("delete", "delete", "Delete", id="picker.delete", priority=True),
        Binding("tab", "mark", "Mark", id="picker.mark", priority=True),
        Binding("escape", "back", "Back", id="picker.back", priority=True),
    ]

    def __init__(
        self,
        rows: Sequence[Choice],
        *,
        rename: Callable[[ChatTitle, str], None],
        delete: Callable[[Sequence[ChatTitle]], None],
        saved: Searched | None = None,
    ) -> None:
        super().__init__(_title(rows), rows, keys="F2 renames · Tab marks · Delete deletes")
        self._rename, self._delete, self._saved = rename, delete, saved
        self._renaming: ChatTitle | None = None
        self._deleting: tuple[ChatTitle, ...] = ()
        self._marked: set[str] = set()
        self._worker: Worker[None] | None = None
        self._hits: tuple[str, Sequence[ChatHit]] = ("", ())
        self._note, self._said = "", "" if rows else "Reading the list of chats"

    def on_mount(self) -> None:
        """Show everything, and bring the index of the texts up to date."""
        super().on_mount()
        if self._saved is not None:
            self.run_worker(self._take_in(), group="index", exit_on_error=False)

    @property
    def _chat(self) -> ChatTitle | None:
        return self.marked.value.chat if self.marked is not None else None

    def fill(self, rows: Sequence[Choice], image_bytes: int) -> None:
        """Show the chats, once they are read."""
        self._title = _title(rows, image_bytes)
        self.replace(rows)

    def replace(self, rows: Sequence[Choice]) -> None:
        """Show the chats as they are now, with the mark on the same chat, else where it was."""
        marked, place, self._said = self._chat, self.list.highlighted or 0, ""
        self.choices = list(rows)
        self._marked &= {row.value.chat.id for row in rows}
        for place_of, row in enumerate(self.choices):
            if row.value.chat.id in self._marked:
                self.choices[place_of] = _with_mark(row, marked=True)
        # A chat that was renamed counts as used just now: it is first in the list.
        found = self.found()
        same = (n for n, row in enumerate(found) if marked and row.value.chat.id == marked.id)
        self.show(next(same, place))

    def head(self, count: str) -> str:
        """Return what stands above the list: `3 of 40 chats · 2.1 MiB on the disk`."""
        chats = "chat" if len(self.choices) == 1 else "chats"
        return " · ".join(filter(None, (f"{count} {chats}", self._title)))

    def explain(self, text: str) -> None:
        """Show a message in the line above the list, until the user goes on."""
        self._said = text
        self.headline(Content(text))

    def show(self, mark: int = 0) -> None:
        """Show what is found, with a row marked; a message stays."""
        super().show(mark)
        if self._said:
            self.headline(Content(self._said))

    # --- searching the texts -----------------------------------------------------------------

    def found(self) -> list[Choice]:
        """Return the chats whose titles match, and then those whose texts do."""
        rows = matching(self.choices, self.filter.value)
        typed, hits = self._hits
        if typed == self.filter.value.strip() and typed:
            there = {row.value.chat.id for row in rows}
            chats = {row.value.chat.id: row.value.chat for row in self.choices}
            hits = [hit for hit in hits if hit.chat not in there]
            rows += [hit_row(chats[hit.chat], hit) for hit in hits if hit.chat in chats]
        return rows

    def count(self, found: int) -> str:
        """Return how many are shown, and what the index is at."""
        return " · ".join(filter(None, (super().count(found), self._note)))

    async def _take_in(self) -> None:
        saved = self._saved
        try:
            while self.is_attached and saved is not None:
                state = await asyncio.to_thread(saved.take_in, TAKE_IN_S)
                left = state.total - state.done
                self._note = f"reading {left:,} texts" if left else ""
                self._look()
                if not left:
                    return
        except SteprunError as error:
            self._note = "texts not searched"
            self.notify(f"{error.what} {error.why}", severity="warning", markup=False)
        finally:
            self._redraw()

    def _look(self) -> None:
        self._worker = self.run_worker(
            self._searched, group="look", exclusive=True, exit_on_error=False
        )

    async def _searched(self) -> None:
        await asyncio.sleep(PAUSE_S)
        typed = self.filter.value.strip()
        hits: Sequence[ChatHit] = ()
        if len(typed) >= LEAST and self._renaming is None and self._saved is not None:
            try:
                hits = await asyncio.to_thread(self._saved.search, typed)
            except SteprunError:
                self._note = "texts not searched"
        if (typed, hits) != self._hits:
            self._hits = typed, hits
        self._redraw()

    def _redraw(self) -> None:
        if self.is_attached and self._renaming is None:
            self.show(self.list.highlighted or 0)

    # --- keys --------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Mark the chat, to be deleted with others, or take the mark off; go to the next one."""
        if (chat := self._chat) is None or self._renaming is not None:
            return
        self._deleting, self._said = (), ""
        self._marked ^= {chat.id}
        at = next(n for n, row in enumerate(self.choices) if row.value.chat.id == chat.id)
        self.choices[at] = _with_mark(self.choices[at], marked=chat.id in self._marked)
        self.show((self.list.highlighted or 0) + 1)

    def action_rename(self) -> None:
        """Ask for a new name."""
        if (chat := self._chat) is not None and self._renaming is None:
            self._deleting, self._renaming = (), chat
            self.list.display = False
            self.filter.placeholder = "New name"
            with self.prevent(Input.Changed):
                self.filter.value = chat.title
            self.filter.cursor_position = len(chat.title)
            self.explain("Type the new name. Enter keeps it, Esc leaves the old one.")

    def action_delete(self) -> None:
        """Ask once, then have the chats deleted: those that are marked, or this one."""
        chat = self._chat
        if self._renaming is not None:
            self.filter.action_delete_right()
        elif self._deleting:
            chats, self._deleting = self._deleting, ()
            self._delete(chats)
        elif chat is not None:
            every = (row.value.chat for row in self.choices)
            marked = tuple(each for each in every if each.id in self._marked)
            self._deleting = marked or (chat,)
            title = self._deleting[0].title or self._deleting[0].id
            what = title if len(self._deleting) == 1 else f"{len(self._deleting):,} chats"
            self.explain(f"Delete {what} for good? Delete again does, Esc does not.")

    def action_back(self) -> None:
        """Leave the renaming or the deletion, or close the list."""
        if self._renaming is not None or self._deleting:
            self._stop()
        else:
            self.dismiss(None)

    def action_move(self, where: str) -> None:
        """Move the mark; a deletion that was asked about is off."""
        if self._renaming is None:
            self._stop()
            super().action_move(where)

    def typed(self) -> None:
        """Narrow the list down; a deletion that was asked about is off."""
        if self._renaming is None:
            self._deleting, self._said = (), ""
            super().typed()
            if self._saved is not None:
                self._look()

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
        self._renaming, self._deleting, self._said = None, (), ""
        self.list.display = True
        self.filter.placeholder = PLACEHOLDER
        if renamed:
            with self.prevent(Input.Changed):
                self.filter.value = ""
        self.show(self.list.highlighted or 0)
