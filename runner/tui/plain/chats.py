"""Chats from a plain chat: new ones, saved ones, copies, files."""

import asyncio
from importlib import import_module
from typing import Final

from runner.chat.conversation import Conversation
from runner.chat.sessions.index import ChatTitle
from runner.chat.sessions.saved import SavedChats
from runner.tui import shared
from runner.tui.actions import Action
from runner.tui.plain.versions import PlainVersions
from runner.tui.plain.wing import PlainWing
from runner.tui.save_as import save_as

LISTED: Final = 20  # chats at a time
TAKE_IN_S: Final = 5.0  # for what was said since the last search
NAME_CHARS: Final = 200  # as the window's list takes


class PlainChats(PlainWing):
    """Moves from one saved chat to another."""

    title = "Chats"
    _listed: tuple[ChatTitle, ...] = ()
    _saved = SavedChats()

    async def start_new(self, _: str) -> None:
        """Start a new chat; the previous one can be resumed."""
        talk = self.talk
        old = talk.conversation.session.id if talk.conversation.saved else ""
        await talk.exchange(await asyncio.to_thread(Conversation, talk.setup.title))
        again = f" The previous one: /resume {old}" if old else ""
        self.out.say(f"New chat.{again}")

    async def list_chats(self, words: str) -> None:
        """List the saved chats, the last used one first; `words`: only those that have them."""
        chats = await asyncio.to_thread(self._saved.chats)
        wanted = words.lower().split()
        found = [each for each in chats if all(word in each.title.lower() for word in wanted)]
        pieces: dict[str, str] = {}
        if wanted:
            await asyncio.to_thread(self._saved.take_in, TAKE_IN_S)
            hits = await asyncio.to_thread(self._saved.search, words)
            pieces = {hit.chat: hit.piece for hit in hits}
            found += [each for each in chats if each.id in pieces and each not in found]
        self._listed = tuple(found[:LISTED])
        for number, each in enumerate(self._listed, 1):
            answers = "1 answer" if each.answers == 1 else f"{each.answers:,} answers"
            piece = f": {pieces[each.id]}" if each.id in pieces else ""
            self.out.say(f"{number}. {each.title or '(no title)'}, {answers}, {each.id}{piece}")
        if not found:
            self.out.say("No saved chat has these words." if wanted else "No chat is saved yet.")
            return
        more = len(found) - len(self._listed)
        others = f" {more:,} more: /chats WORDS finds them." if more > 0 else ""
        self.out.say(f"/resume NUMBER or /resume ID opens one.{others}")

    async def resume(self, which: str) -> None:
        """Open a saved chat, by its ID or by its number in the last list."""
        if which.isdecimal() and len(which) < 4 and 1 <= int(which) <= len(self._listed):
            which = self._listed[int(which) - 1].id
        await self._open(which)

    async def _open(self, which: str) -> None:
        talk = self.talk
        if which == talk.conversation.session.id:
            self.out.say("This chat is open already.")
            return
        await talk.exchange(await asyncio.to_thread(Conversation, talk.setup.title, which))
        self.show_resumed()

    def show_resumed(self) -> None:
        """Say what the chat that was opened has, and print its last turn."""
        talk = self.talk
        turns = talk.conversation.turns
        questions = "1 question" if len(turns) == 1 else f"{len(turns):,} questions"
        last = " The last one:" if turns else ""
        self.out.say(f"Resumed the chat {talk.conversation.session.id}: {questions}.{last}")
        if turns:
            self.chat.wing(PlainVersions).show_turn(turns[-1])
        talk.report_kept()
        talk.report_warnings()

    async def fork(self, _: str) -> None:
        """Continue in a copy of this chat; the chat itself stays as it is."""
        conversation = self.talk.conversation
        if not conversation.turns:
            self.out.say("There is nothing to copy yet.")
        elif await asyncio.to_thread(conversation.flush):
            await self._open(await asyncio.to_thread(self._saved.copy, conversation.session.id))
        else:
            self.talk.report_warnings()

    async def name(self, name: str) -> None:
        """Give this chat a name."""
        conversation = self.talk.conversation
        conversation.rename(" ".join(name.split())[:NAME_CHARS])
        await self.talk.save()
        self.out.say(f"This chat is called {conversation.session.tree.name}.")

    async def open_file(self, path: str) -> None:
        """Save the chat of a file as a new one, and open it."""
        module = await asyncio.to_thread(import_module, "runner.chat.sessions.importing")
        made, lost = await asyncio.to_thread(module.import_chat, path)
        await self._open(made)
        for line in lost:
            self.out.say(line)

    async def save(self, path: str) -> None:
        """Write the conversation to a new file."""
        talk = self.talk
        turns = list(talk.conversation.turns)
        target = await asyncio.to_thread(save_as, path, turns, talk.setup.title)
        self.out.say(f"Saved to {target}")

    actions = (
        shared.NEW.by(start_new),
        Action(
            *("plain.chats", "list the saved chats, or those that have some words", list_chats),
            *("chats", "[WORDS]"),
        ),
        Action(
            *("plain.resume", "open a saved chat, by its ID or its number in the list", resume),
            *("resume", "ID"),
            needs_args=True,
        ),
        shared.FORK.by(fork),
        shared.NAME.by(name),
        shared.SAVE.by(save),
        shared.OPEN.by(open_file),
    )
