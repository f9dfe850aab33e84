"""Saves what is typed and not sent, soon after each key and in a thread."""

import asyncio
from typing import TYPE_CHECKING, Final

from textual.timer import Timer

from runner.chat.sessions.entries import draft_of
from runner.chat.wire import Picture

if TYPE_CHECKING:
    from runner.tui.talking import ChatTalk

AGAIN_S: Final = 1.0  # after a disk that was full
AUTOSAVE_S: Final = 0.25
"""After a key, however many follow: with the write, it is on the disk within a second."""


class Unsent:
    """What a chat has that is not sent; it is saved with all else that is due."""

    def __init__(self, chat: "ChatTalk") -> None:
        self._chat = chat
        self._timer: Timer | None = None
        self.given: list[Picture] = []  # by the command line, which gives them again

    def changed(self) -> None:
        """Save the draft soon: even a killed chat loses no more than a moment's typing."""
        # The timer runs from the first key: one that each key started again would fire in a pause.
        self._save_in(AUTOSAVE_S)

    def keep(self) -> None:
        """Take in what is typed and what waits; the next flush writes it, with what is not sent."""
        composer, waiting = self._chat.composer, self._chat.waiting
        drafts = [draft_of(*message) for message in waiting]
        texts = [*(draft.text for draft in drafts), composer.text]
        pictures = [picture for draft in drafts for picture in draft.pictures]
        draft = "\n".join(text for text in texts if text)
        pictures += composer.pictures
        if not draft and all(any(each is given for given in self.given) for each in pictures):
            pictures = []  # nothing of it is the user's work
        self._chat.conversation.keep_draft(draft, pictures)

    def save_soon(self) -> None:
        """Write what is due, beside whatever else happens."""
        self._chat.run_worker(self.write(), group="saving", exit_on_error=False)

    async def write(self) -> None:
        """Write what is due in a thread; show why that cannot be, and try again."""
        written = await asyncio.to_thread(self._chat.conversation.flush)
        if self._chat.is_running and not self._chat.leaving:
            self._chat.show_warnings()
            if not written:
                self._save_in(AGAIN_S)

    def _save_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._chat.set_timer(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        self.keep()
        self.save_soon()
