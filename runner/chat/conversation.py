"""The conversation and its file: what was said, what is saved. No widgets, no network.

A chat that cannot be saved goes on: `trouble` says why, once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from runner.base.errors import SteprunError
from runner.chat.sessions.store import Draft, InUse, Session, SessionEntry
from runner.chat.turn import Turn, TurnState, to_entry, to_messages, to_turns
from runner.chat.wire import Message, Picture

HISTORY = 200


class Conversation:
    """Turns and the session that keeps them."""

    def __init__(self, title: str, resume: str = "") -> None:
        self._title = title
        self.troubles: list[str] = []
        self._told: set[str] = set()
        self.session = Session.load(resume) if resume else Session.create(title)
        self._try(self.session.claim)
        self.turns: list[Turn] = to_turns(self.session.entries)
        self.draft: Draft | None = self.session.draft() if resume else None
        self.draft_path: Path | None = None
        self.troubles += self.session.warnings

    @property
    def saved(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self.session.entries) or self.draft_path is not None

    def history(self) -> Sequence[str]:
        """Return the user's messages, the newest last."""
        return [turn.text for turn in self.turns if turn.text][-HISTORY:]

    def append(self, text: str, pictures: tuple[Picture, ...]) -> Turn:
        """Add a question, which is not sent yet."""
        turn = Turn(text, pictures)
        self.turns.append(turn)
        return turn

    def withdraw(self, turn: Turn) -> None:
        """Take a question back that was not sent."""
        if self.turns and self.turns[-1] is turn:
            self.turns.pop()

    def sending(self, turn: Turn, *, again: bool) -> list[Message]:
        """Save the question, which is about to be sent; return the messages to send. Blocks."""
        if again:
            self._try(self.session.retry)
        else:
            entry = SessionEntry(Message("user", turn.text, turn.pictures))
            self._try(lambda: self.session.add(entry))
        return to_messages(self.turns)

    def ended(self, turn: Turn) -> None:
        """Save the answer, or the part of it that came."""
        self._try(lambda: self.session.add(to_entry(turn)))

    def keep_draft(self, text: str, pictures: Sequence[Picture]) -> None:
        """Save what is typed and not sent; forget the draft where that is nothing."""
        self.draft_path = None
        if text.strip() or pictures:
            self._try(lambda: self._save_draft(text, pictures))
        else:
            self.session.drop_draft()

    def _save_draft(self, text: str, pictures: Sequence[Picture]) -> None:
        self.draft_path = self.session.save_draft(text, pictures)

    def start_new(self) -> None:
        """Begin another conversation; the old one stays on the disk."""
        self.session.release()
        self.session = Session.create(self._title)
        self._try(self.session.claim)
        self.turns.clear()

    def retriable(self) -> Turn | None:
        """Return the turn that can be asked again, None where there is none."""
        last = self.turns[-1] if self.turns else None
        return last if last is not None and last.phase.over else None

    def last_answer(self) -> str:
        """Return the text of the newest answer, empty where there is none."""
        return next((turn.answer for turn in reversed(self.turns) if turn.answered), "")

    def asked(self, turn: Turn) -> bool:
        """Whether the turn was sent before, so that asking it is asking again."""
        return turn.phase is not TurnState.QUEUED

    def close(self) -> None:
        """Let other chats into this session."""
        self.session.release()

    def _try(self, save: Callable[[], object]) -> None:
        try:
            save()
        except InUse:
            raise  # going on would mix two chats in one file
        except SteprunError as error:
            text = f"This chat is not being saved. {error}"
            if text not in self._told:
                self._told.add(text)
                self.troubles.append(text)
