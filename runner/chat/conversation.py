"""The one place that a chat's state lives in: its turns, the current branch, the draft, troubles.

Whatever changes, changes in memory at once and is due for the disk; `flush` writes what is due, in
a thread, in an order that loses nothing: a question before its draft, an answer before its parts.
What cannot be written stays due, and `warnings` says why, once. No widgets, no network.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.base.errors import SteprunError
from runner.base.text import clean
from runner.chat.files.attached import AttachedFile
from runner.chat.history import to_messages
from runner.chat.sessions.branch import answer_of, lost_in, question_of, to_turn, to_turns
from runner.chat.sessions.choices import ChatChoices
from runner.chat.sessions.entries import Draft, SessionEntry, draft_of
from runner.chat.sessions.index import note_chat
from runner.chat.sessions.parts import PartLines
from runner.chat.sessions.store import InUse, Session, find_session, new_id, skipped
from runner.chat.sessions.tree import current_record, name_record, settings_record
from runner.chat.sessions.versions import versions
from runner.chat.steps import TurnStep
from runner.chat.turn import Turn
from runner.chat.wire import Message, Picture

HISTORY = 200
NOTHING = Draft("")


class Conversation:
    """Turns and the session that keeps them."""

    def __init__(self, title: str, resume: str = "") -> None:
        """Start a new conversation with the model `title`, or resume a session by its ID.

        Raises `Refused` where that session is unknown or open elsewhere.
        """
        self._title = title
        self.warnings: list[str] = []
        self.trouble: SteprunError | None = None  # why something could not be written at last
        self._told: set[str] = set()
        self._disk = threading.Lock()  # one writes at a time; whoever changes things never waits
        newer: list[str] = []
        session = Session(find_session(resume, newer)) if resume else Session.create(title)
        self._begin(session)
        if newer:
            self.warnings.append(f"{skipped(newer)} Update steprun to resume it.")
        # Claimed before it is read: the chat that still has it may be saving its last turn.
        self._attempt(session.claim)
        try:
            session.read()
        except SteprunError:
            session.release()
            raise
        self.draft = session.draft() if resume else None
        self._typed = self._written = self.draft or NOTHING
        self.turns: list[Turn] = []
        self._recover()
        self.turns += to_turns(session.tree, self._turn)
        self.warnings += [*session.warnings, *filter(None, [lost_in(self.turns)])]

    def _begin(self, session: Session) -> None:
        self.session = session
        self._due: deque[SessionEntry | Mapping[str, Any]] = deque()
        self._made: dict[tuple[str, str], Turn] = {}
        self._instead: tuple[Turn, list[Turn]] | None = None
        self._system = ""  # of the answer that is asked for
        self._part: tuple[str, tuple[str, ...], list[TurnStep]] | None = None
        self._part_lines: PartLines | None = None
        self._typed = self._written = NOTHING

    def _recover(self) -> None:
        """Put the part of an answer that the end of the program cut off into its place."""
        cut = self.session.part()
        if cut is not None and self.session.tree.add(cut):
            self._due.append(cut)

    # --- what stands -------------------------------------------------------------------------

    @property
    def saved(self) -> bool:
        """Whether there is something to resume."""
        return self.session.path.is_file() or self.draft_path is not None

    @property
    def draft_path(self) -> Path | None:
        """The file of what is typed and not sent, where it is saved."""
        return self.session.draft_path if self._written != NOTHING else None

    @property
    def chosen(self) -> ChatChoices:
        """What was chosen for this chat."""
        return ChatChoices(self.session.tree.settings)

    def history(self) -> Sequence[str]:
        """Return the user's messages, the newest last."""
        return [turn.text for turn in self.turns if turn.text and not turn.broken][-HISTORY:]

    def call_model(self, title: str) -> None:
        """Take over the model's name, which was not known when the chat began."""
        self._title = title
        if not self.session.entries:
            self.session.title = title

    def retriable(self) -> Turn | None:
        """Return the turn that can be asked again, None where there is none."""
        last = self.turns[-1] if self.turns else None
        return last if last is not None and last.phase.over and not last.broken else None

    def context_used(self) -> int:
        """Return how many tokens of the context are in use, 0 where unknown."""
        return next((used for turn in reversed(self.turns) if (used := turn.context_used())), 0)

    # --- questions and answers ---------------------------------------------------------------

    def append(
        self, text: str, pictures: tuple[Picture, ...], files: tuple[AttachedFile, ...] = ()
    ) -> Turn:
        """Add a question, which is not sent yet; what is sent is what is read from the disk."""
        turn = Turn(clean(text), pictures, files=files)
        self.turns.append(turn)
        return turn

    def regenerate(self, turn: Turn) -> Turn:
        """Return a turn with the same question, for another answer; it takes the turn's place."""
        again = Turn(turn.text, turn.pictures, files=turn.files)
        again.asked_id = turn.asked_id
        return self._put(again, turn)

    def continued(
        self, turn: Turn, *, answers: bool = False, steps: Sequence[TurnStep] = ()
    ) -> Turn:
        """Return a turn that goes on with another one's answer: with `steps` of it, or all."""
        again = self.regenerate(turn)
        again.go_on_from(steps or turn.steps, answers=answers)
        return again

    def edit(
        self,
        turn: Turn,
        text: str,
        pictures: tuple[Picture, ...],
        files: tuple[AttachedFile, ...] = (),
    ) -> Turn:
        """Return a turn with another question in place of `turn`, and of what followed that."""
        return self._put(Turn(clean(text), pictures, files=files), turn)

    def _put(self, turn: Turn, instead_of: Turn) -> Turn:
        at = self.turns.index(instead_of)
        self._instead = (turn, self.turns[at:])
        self.turns[at:] = [turn]
        return turn

    def withdraw(self, turn: Turn) -> None:
        """Take a question back that was not sent; what stood in its place stands again."""
        if self.turns and self.turns[-1] is turn:
            replaced = self._instead is not None and self._instead[0] is turn
            self.turns[-1:] = self._instead[1] if self._instead is not None and replaced else []
            self._instead = None

    def asked(self, turn: Turn) -> list[Message]:
        """Take in that the last turn's question is about to be sent; return the messages to send.

        `flush` writes the question.
        """
        tree, parents = self.session.tree, self._parents(turn)
        if tree.settings and not tree.entries:  # an empty chat is not worth a file
            self._due.append(settings_record(tree.settings))
        if turn.asked_id in tree.entries:
            tree.go_to(turn.asked_id)
        else:
            question = replace(question_of(turn, parents), id=new_id())
            self._add(question)
            turn.asked_id = question.id  # until then it counts as typed
        turn.answer_id = new_id()
        self._system = self.chosen.system  # until it ends: another one is read again, with all else
        return self.messages()

    def messages(self) -> list[Message]:
        """Return the messages to send, the last turn's question last."""
        return to_messages(self.turns, self._system)

    def growing(self, turn: Turn) -> None:
        """Take in what of the answer has arrived; `flush` writes it."""
        self._part = (turn.answer_id, self._after(turn), [replace(each) for each in turn.steps])

    def ended(self, turn: Turn) -> Turn:
        """Take in that the answer has ended; return the turn that stands in its place now.

        That is an earlier one where this one was asked again and is worth less: a retry that
        failed takes no answer away. What arrived of it is kept beside that one.
        """
        self._part = None
        instead, self._instead = self._instead, None
        before = instead[1] if instead is not None and instead[0] is turn else []
        better = bool(before) and (not turn.grew or before[0].worth > turn.worth)
        if turn.grew or not better:
            self._add(answer_of(turn, self._after(turn)))
            self._made[turn.asked_id, turn.answer_id] = turn
        if not better:
            return turn
        self.turns[self.turns.index(turn) :] = before
        if (end := _end(before[-1])) in self.session.tree.entries:
            self.session.tree.go_to(end)
            self._due += [current_record(end)] if turn.grew else []
        return before[0]

    def _parents(self, turn: Turn) -> tuple[str, ...]:
        """Return the IDs of what the question of a turn of the current branch follows."""
        at = self.turns.index(turn)
        above = self.turns[at - 1] if at else None
        return self.session.tree.ancestors(_end(above)) if above is not None else ()

    def _after(self, turn: Turn) -> tuple[str, ...]:
        return self.session.tree.ancestors(turn.asked_id)

    def _add(self, entry: SessionEntry) -> None:
        if self.session.tree.add(entry):
            self._due.append(entry)

    # --- branches ----------------------------------------------------------------------------

    def siblings(self, turn: Turn) -> tuple[int, int]:
        """Return which version of this turn it is, from 1, and how many there are."""
        versions = self._versions(turn)
        return versions.index(_key(turn)) + 1, len(versions)

    def switch(self, turn: Turn, step: int) -> Turn:
        """Go `step` versions on, or back, as far as there are; return the turn that stands then.

        What followed that version stands again, too. Not while a turn is answered.
        """
        versions = self._versions(turn)
        at = versions.index(_key(turn))
        target = versions[max(0, min(len(versions) - 1, at + step))]
        tree, place = self.session.tree, self.turns.index(turn)
        end = tree.newest_below(target[1] or target[0])
        if target == _key(turn) or end not in tree.entries:
            return turn
        tree.go_to(end)
        self.turns[place:] = to_turns(tree, self._turn)[place:]
        self._due.append(current_record(end))
        return self.turns[place]

    def go_to(self, entry_id: str) -> int:
        """Let the branch stand that has an entry; return its turn's place, -1 where there is none.

        Not while a turn is answered.
        """
        tree = self.session.tree
        if entry_id in tree.entries and not any(entry_id in _key(turn) for turn in self.turns):
            end = tree.newest_below(entry_id)
            tree.go_to(end)
            self.turns[:] = to_turns(tree, self._turn)
            self._due.append(current_record(end))
        places = (place for place, turn in enumerate(self.turns) if entry_id in _key(turn))
        return next(places, -1)

    def _versions(self, turn: Turn) -> list[tuple[str, str]]:
        tree = self.session.tree
        above = tree.above(turn.asked_id or turn.answer_id) if _end(turn) else self._above(turn)
        return versions(tree, above, _key(turn))

    def _above(self, turn: Turn) -> str:
        parents = self._parents(turn)
        return parents[0] if parents else ""

    def _turn(self, question: SessionEntry | None, answer: SessionEntry | None) -> Turn:
        """Return the turn of two entries, the same one each time: it may be on the screen."""
        key = (question.id if question else "", answer.id if answer else "")
        if key not in self._made:
            self._made[key] = to_turn(question, answer)
        return self._made[key]

    # --- the disk ----------------------------------------------------------------------------

    def rename(self, name: str) -> None:
        """Give the chat a name of the user's."""
        self.session.tree.name = name
        self._due.append(name_record(name))

    def choose(self, **settings: str | float | None) -> None:
        """Choose something for this chat: `system`, `temperature`; None for what was there."""
        tree = self.session.tree
        chosen = {**tree.settings, **settings}
        tree.settings = {name: value for name, value in chosen.items() if value not in (None, "")}
        if tree.entries:
            self._due.append(settings_record(tree.settings))

    def keep_draft(self, text: str, pictures: Sequence[Picture]) -> None:
        """Take in what is typed and not sent; `flush` writes it."""
        self._typed = Draft(text, tuple(pictures)) if text.strip() or pictures else NOTHING

    def _unsaved(self) -> Draft:
        """Return what is typed, and each question before it that its file does not have yet."""
        due = [each for each in list(self._due) if isinstance(each, SessionEntry) and each.asks]
        parts = [draft_of(each.message.text, each.message.pictures, each.files) for each in due]
        if self.turns and not _end(waits := self.turns[-1]):
            parts.append(draft_of(waits.text, waits.pictures, waits.files))
        parts.append(self._typed)
        text = "\n".join(part.text for part in parts if part.text)
        return Draft(text, tuple(picture for part in parts for picture in part.pictures))

    def flush(self) -> bool:
        """Write all that is not on the disk yet; return whether it is now. Blocks, in any thread.

        A warning says why it is not.
        """
        with self._disk:
            due = bool(self._due) or self._unsaved() != self._written
            written = self._attempt(self._write)
            if written and due and self.trouble is not None:
                self.trouble = None
                self._told.clear()
                self.warnings.append("This chat is being saved again; nothing is lost.")
            return written

    def _write(self) -> None:
        try:
            self._write_due()
        finally:
            if (draft := self._unsaved()) != self._written:
                self._write_draft(draft)

    def _write_due(self) -> None:
        answered = False
        while self._due:
            due = self._due[0]
            if isinstance(due, SessionEntry):
                self.session.write(due)
                answered = answered or not due.asks
            else:
                self.session.append(due)
            self._due.popleft()
        if answered:
            self._part_lines = None
            self.session.drop_part()
            note_chat(self.session)
        if (part := self._part) is not None:
            self._write_part(*part)

    def _write_part(self, answer_id: str, parents: tuple[str, ...], steps: list[TurnStep]) -> None:
        if self._part_lines is None or self._part_lines.answer_id != answer_id:
            self._part_lines = PartLines(answer_id, parents)
        lines = self._part_lines
        if data := lines.more(steps, self.session.pictures.keep):
            self.session.append_part(data, begin=not lines.begun)
            lines.wrote(steps)

    def _write_draft(self, draft: Draft) -> None:
        if draft == NOTHING:
            self.session.drop_draft()
        else:
            self.session.save_draft(draft.text, draft.pictures)
        self._written = draft

    def _attempt(self, save: Callable[[], object]) -> bool:
        """Return whether `save` could save; a warning says why not."""
        try:
            save()
        except InUse:
            raise  # continuing would mix two chats in one file
        except SteprunError as error:
            text = f"This chat is not being saved. {error}"
            self.trouble = error
            if text not in self._told:
                self._told.add(text)
                self.warnings.append(text)
            return False
        return True

    def start_new(self) -> None:
        """Begin another conversation; the old one stays on the disk."""
        with self._disk:
            self._attempt(self._write)
            self.session.release()
            self._begin(Session.create(self._title))
            self._attempt(self.session.claim)
        self.turns.clear()

    def close(self) -> None:
        """Write what is due, and let other chats into this session; safe to call twice."""
        with contextlib.suppress(SteprunError):
            self.flush()
        self.session.release()


def _key(turn: Turn) -> tuple[str, str]:
    return turn.asked_id, turn.answer_id


def _end(turn: Turn) -> str:
    """Return the ID of the last of a turn's entries."""
    return turn.answer_id or turn.asked_id
