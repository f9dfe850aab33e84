"""Sessions: a new chat in the same window, or one of the saved ones."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from runner.base.errors import SteprunError
from runner.chat.conversation import Conversation
from runner.chat.sessions.index import ChatTitle
from runner.tui.actions import Action
from runner.tui.picker import ChatPicker
from runner.tui.shared import NEW
from runner.tui.wings.versions import Versions
from runner.tui.wings.wing import Wing


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
        old = chat.conversation.session.id if chat.conversation.saved else ""
        chat.conversation.start_new()
        chat.transcript.notice(None)
        await chat.transcript.show_turns(chat.conversation.turns, opened=False)
        chat.hint("New chat. Ctrl+O opens the previous one again." if old else "New chat.")

    def pick(self, _: str) -> None:
        """List the saved chats."""
        self.chat.run_worker(self._pick(), group="chats", exclusive=True, exit_on_error=False)

    async def _pick(self) -> None:
        chats = await self._listed()
        if not chats:
            self.chat.hint("No saved chat yet.")
            return
        self._picker = ChatPicker(chats, rename=self._rename, delete=self._delete)
        self.chat.push_screen(self._picker, self._picked)

    async def _listed(self) -> Sequence[ChatTitle]:
        try:
            return await asyncio.to_thread(self.chat.shelf.chats)
        except SteprunError as error:
            self.chat.problem(error)
            return ()

    def _picked(self, chosen: ChatTitle | None) -> None:
        if chosen is not None:
            self.chat.call_later(self.open, chosen.id)

    async def open(self, chat_id: str) -> None:
        """Continue a saved chat in this window; what is typed stays with the chat it belongs to."""
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
            return
        if chat_id == chat.conversation.session.id:
            chat.hint("This chat is open already.")
            return
        try:
            opened = Conversation(chat.setup.title, chat_id)
        except SteprunError as error:
            chat.problem(error)
            return
        chat.wing(Versions).leave()
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

    def _rename(self, listed: ChatTitle, name: str) -> None:
        open_here = self.chat.conversation
        if listed.id == open_here.session.id:
            open_here.rename(name)
            self._change(open_here.flush)
        else:
            self._change(partial(self.chat.shelf.rename, listed.id, name))

    def _delete(self, listed: ChatTitle) -> None:
        if listed.id == self.chat.conversation.session.id:
            self._picker.explain("This chat is open. Open another one first.")
        else:
            self._change(partial(self.chat.shelf.delete, listed.id))

    def _change(self, change: Callable[[], object]) -> None:
        """Change a chat in a thread, and show the list as it is then."""
        self.chat.run_worker(self._changed(change), group="chats", exit_on_error=False)

    async def _changed(self, change: Callable[[], object]) -> None:
        trouble = ""
        try:
            await asyncio.to_thread(change)
        except SteprunError as error:
            trouble = f"{error.what} {error.why}".strip()
        if self._picker.is_attached:
            self._picker.replace(await self._listed())
            if trouble:
                self._picker.explain(trouble)

    actions = (
        NEW.by(start_new),
        Action("chat.pick", "open, rename or delete a saved chat", pick, "chats", keys=("ctrl+o",)),
    )
