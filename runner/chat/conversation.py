"""A conversation: its turns, and the session file they are saved in. No widgets, no network.

A conversation that cannot be saved continues unsaved: `warnings` says why, once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from runner.base.errors import SteprunError
from runner.base.shell import shell_line
from runner.chat.sessions.store import Draft, InUse, Session, SessionEntry, find_session
from runner.chat.turn import Turn, to_entry, to_messages, to_turns
from runner.chat.wire import Message, Picture

HISTORY = 200


class Conversation:
    """Turns and the session that keeps them."""

    def __init__(self, title: str, resume: str = "") -> None:
        """Start a new conversation with the model `title`, or resume a session by its ID.

        Raises `Refused` where that session is unknown or open elsewhere.
        """
        self._title = title
        self.warnings: list[str] = []
        self._warned: set[str] = set()
        self.session = Session(find_session(resume)) if resume else Session.create(title)
        self._question_saved = False
        # Claimed before it is read: the chat that still has it may be saving its last turn.
        self._save(self.session.claim)
        try:
            self.session.read()
        except SteprunError:
            self.close()
            raise
        self.turns: list[Turn] = to_turns(self.session.entries)
        self.draft: Draft | None = self.session.draft() if resume else None
        self.draft_path: Path | None = None
        self.warnings += self.session.warnings

    @property
    def saved(self) -> bool:
        """Whether there is something to resume."""
        return bool(self.session.entries) or self.draft_path is not None

    def history(self) -> Sequence[str]:
        """Return the user's messages, the newest last."""
        return [turn.text for turn in self.turns if turn.text][-HISTORY:]

    def call_model(self, title: str) -> None:
        """Take over the model's name, which was not known when the chat began."""
        self._title = title
        if not self.session.entries:
            self.session.title = title

    def append(self, text: str, pictures: tuple[Picture, ...]) -> Turn:
        """Add a question, which is not sent yet."""
        turn = Turn(text, pictures)
        self.turns.append(turn)
        return turn

    def withdraw(self, turn: Turn) -> None:
        """Take a question back that was not sent."""
        if self.turns and self.turns[-1] is turn:
            self.turns.pop()

    def save_question(self, turn: Turn, *, again: bool) -> list[Message]:
        """Save the question, which is about to be sent; return the messages to send. Blocks."""
        self._question_saved = False
        if again:
            self._question_saved = self._save(self.session.retry)
        else:
            entry = SessionEntry(Message("user", turn.text, turn.pictures))
            self._question_saved = self._save(lambda: self.session.add(entry))
        return to_messages(self.turns)

    def save_answer(self, turn: Turn) -> None:
        """Save the answer, or the part that arrived; not without its question."""
        if self._question_saved:
            self._save(lambda: self.session.add(to_entry(turn)))

    def keep_draft(self, text: str, pictures: Sequence[Picture]) -> None:
        """Save what is typed and not sent; delete the draft where that is nothing."""
        self.draft_path = None
        if not text.strip() and not pictures:
            self.session.drop_draft()
        elif self._save(lambda: self.session.save_draft(text, pictures)):
            self.draft_path = self.session.draft_path

    def start_new(self) -> None:
        """Begin another conversation; the old one stays on the disk."""
        self.session.release()
        self.session = Session.create(self._title)
        self._save(self.session.claim)
        self.turns.clear()

    def retriable(self) -> Turn | None:
        """Return the turn that can be asked again, None where there is none."""
        last = self.turns[-1] if self.turns else None
        return last if last is not None and last.phase.over else None

    def last_answer(self) -> str:
        """Return the text of the newest answer, empty where there is none."""
        return next((turn.answer for turn in reversed(self.turns) if turn.answered), "")

    def context_used(self) -> int:
        """Return how many tokens of the context are in use, 0 where unknown."""
        return next((used for turn in reversed(self.turns) if (used := turn.context_used())), 0)

    def resume_command(self, words: Sequence[str]) -> str:
        """Return the command that resumes this; `words`: the options that name the model."""
        return f"{shell_line(('steprun', 'chat', *words))} --resume {self.session.id}"

    def close(self) -> None:
        """Let other chats into this session."""
        self.session.release()

    def _save(self, save: Callable[[], object]) -> bool:
        """Return whether `save` could save; a warning says why not."""
        try:
            save()
        except InUse:
            raise  # continuing would mix two chats in one file
        except SteprunError as error:
            text = f"This chat is not being saved. {error}"
            if text not in self._warned:
                self._warned.add(text)
                self.warnings.append(text)
            return False
        return True
