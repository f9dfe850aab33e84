"""Sessions: a new chat in the same window, one of the saved ones, or a copy of one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

from textual.message import Message

from runner.base.errors import SteprunError
from runner.chat.conversation import Conversation
from runner.chat.sessions.index import ChatTitle
from runner.chat.sessions.store import InUse
from runner.tui.actions import Action
from runner.tui.chooser import Choice, Chooser
from runner.tui.picker import NAME_CHARS, ChatPicker, PickedChat, chat_rows
from runner.tui.shared import FORK, NAME, NEW
from runner.tui.talking import ChatTalk
from runner.tui.wings.finding import FindWing
from runner.tui.wings.versions import Versions
from runner.tui.wings.wing import Hear, Wing

TAKE_IN_S: Final = 0.5  # after an answer: the words of this chat, and of others that are due


class Sessions(Wing):
    """Moves from one saved chat to another."""

    title = "Chats"

    async def start_new(self, _: str) -> None:
        """Start a new chat; the previous one can be resumed."""
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
            return
        chat.wing(Versions).leave()
        chat.wing(FindWing).leave()
        old = chat.conversation.session.id if chat.conversation.saved else ""
        chat.conversation.start_new()
        chat.transcript.notice(None)
        await chat.transcript.show_turns(chat.conversation.turns, opened=False)
        chat.hint("New chat. Ctrl+O opens the previous one again." if old else "New chat.")

    # --- the list ----------------------------------------------------------------------------

    async def pick(self, _: str) -> None:
        """List the saved chats. The list is there at once, and takes the next keys."""
        if len(self.chat.screen_stack) > 1:  # another list is in front of the chat
            return
        self._picker = ChatPicker(
            (), rename=self._rename, delete=self._delete, saved=self.chat.shelf
        )
        await self.chat.push_screen(self._picker, self._picked)
        self.chat.run_worker(self._fill(), group="chats", exclusive=True, exit_on_error=False)

    async def _fill(self) -> None:
        picker = self._picker
        rows = await self._listed()
        images = await asyncio.to_thread(self.chat.shelf.image_bytes)
        if picker.is_attached and rows:
            picker.fill(rows, images)
        elif picker.is_attached:
            picker.dismiss(None)
            self.chat.hint("No saved chat yet.")

    async def _listed(self) -> Sequence[Choice]:
        try:
            return await asyncio.to_thread(self._rows)
        except SteprunError as error:
            self.chat.problem(error)
            return ()

    def _rows(self) -> Sequence[Choice]:
        return chat_rows(self.chat.shelf.chats())

    def _picked(self, chosen: PickedChat | None) -> None:
        if chosen is not None:
            self.chat.call_later(self._open, chosen)

    async def _open(self, chosen: PickedChat) -> None:
        hit = chosen.hit
        if await self.open(chosen.chat.id, quiet=hit is not None) and hit is not None:
            await self.chat.wing(FindWing).go_to(hit.entry, hit.place, hit.wanted)

    async def open(self, chat_id: str, *, quiet: bool = False) -> bool:
        """Continue a saved chat in this window; what is typed stays with the chat it belongs to.

        Returns whether it is open now; `quiet`: it is not said that it was before.
        """
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
            return False
        if chat_id == chat.conversation.session.id:
            chat.hint("" if quiet else "This chat is open already.")
            return True
        try:
            opened = await asyncio.to_thread(Conversation, chat.setup.title, chat_id)
        except InUse as error:
            self._offer_copy(chat_id, error)
            return False
        except SteprunError as error:
            chat.problem(error)
            return False
        if chat.busy:  # a question was sent while the file was read
            opened.close()
            chat.hint("Still answering: Esc stops it.")
            return False
        chat.wing(Versions).leave()
        chat.wing(FindWing).leave()
        chat.unsent.keep()
        chat.conversation.close()
        chat.composer.take()
        chat.conversation = opened
        chat.composer.prompt.sent_before = opened.history
        chat.transcript.notice(None)
        await chat.transcript.show_turns(opened.turns, opened=chat.thinking == "open")
        if opened.draft is not None:
            chat.composer.give_back(opened.draft.text, opened.draft.pictures)
        if opened.warnings:
            chat.problem(*(SteprunError(text) for text in opened.warnings))
            opened.warnings.clear()
        chat.hint(f"Resumed the chat {chat_id}.")
        chat.show_status()
        return True

    # --- copies ------------------------------------------------------------------------------

    def _offer_copy(self, chat_id: str, error: SteprunError) -> None:
        """Say that a chat is open elsewhere; a copy of it can be continued here."""
        choices = [
            Choice("Open a copy here", True, "what is said here is not added there"),
            Choice("Leave it", False),
        ]

        def chosen(copies: object) -> None:
            if copies is True:
                self.chat.call_later(self._open_copy, chat_id)

        self.chat.problem(error)
        self.chat.push_screen(Chooser("This chat is open in another window", choices), chosen)

    async def fork(self, _: str) -> None:
        """Continue in a copy of this chat; the chat itself stays as it is."""
        conversation = self.chat.conversation
        if self.chat.busy:
            self.chat.hint("Still answering: Esc stops it.")
        elif not conversation.turns:
            self.chat.hint("Nothing to copy yet.")
        elif await asyncio.to_thread(conversation.flush):
            await self._open_copy(conversation.session.id)
        else:
            self.chat.show_warnings()

    async def _open_copy(self, chat_id: str) -> None:
        try:
            copied = await asyncio.to_thread(self.chat.shelf.copy, chat_id)
        except SteprunError as error:
            self.chat.problem(error)
        else:
            await self.open(copied)

    # --- changing ----------------------------------------------------------------------------

    def name(self, name: str) -> None:
        """Give this chat a name."""
        conversation = self.chat.conversation
        conversation.rename(" ".join(name.split())[:NAME_CHARS])
        self.chat.unsent.save_soon()
        self.chat.hint(f"This chat is called {conversation.session.tree.name}.")

    def _rename(self, listed: ChatTitle, name: str) -> None:
        open_here = self.chat.conversation
        if listed.id == open_here.session.id:
            open_here.rename(name)
            self._change(open_here.flush)
        else:
            self._change(partial(self.chat.shelf.rename, listed.id, name))

    def _delete(self, listed: Sequence[ChatTitle]) -> None:
        others = [each.id for each in listed if each.id != self.chat.conversation.session.id]
        if len(others) < len(listed):
            self._picker.explain("This chat is open. Open another one first.")
        else:
            shelf = self.chat.shelf
            self._change(partial(shelf.remove, *others), partial(shelf.forget, others))

    def _change(
        self, change: Callable[[], object], after: Callable[[], object] | None = None
    ) -> None:
        """Change a chat in a thread, and show the list as it is then; `after` may take longer."""
        self.chat.run_worker(self._changed(change, after), group="chats", exit_on_error=False)

    async def _changed(
        self, change: Callable[[], object], after: Callable[[], object] | None
    ) -> None:
        trouble = ""
        try:
            await asyncio.to_thread(change)
        except SteprunError as error:
            trouble = f"{error.what} {error.why}".strip()
        if self._picker.is_attached:
            self._picker.replace(await self._listed())
            if trouble:
                self._picker.explain(trouble)
        if after is not None:
            try:
                await asyncio.to_thread(after)
            except SteprunError as error:
                self.chat.problem(error)

    # --- the index ---------------------------------------------------------------------------

    def answered(self, _: ChatTalk.Ended) -> None:
        """Take the new words into the index of all chats, while nothing is computed."""
        if not self.chat.leaving:
            self.chat.run_worker(
                self._take_in(), group="index", exclusive=True, exit_on_error=False
            )

    async def _take_in(self) -> None:
        try:
            await asyncio.to_thread(self.chat.shelf.take_in, TAKE_IN_S)
        except SteprunError:
            return  # whoever searches is told

    actions = (
        NEW.by(start_new),
        Action(
            "chat.pick",
            "open, rename or delete a saved chat; search the texts of all",
            *(pick, "chats"),
            keys=("ctrl+o",),
            priority=True,  # the keys after it are for the list
        ),
        NAME.by(name),
        FORK.by(fork),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {ChatTalk.Ended: answered}
