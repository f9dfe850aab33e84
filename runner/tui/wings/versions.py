"""Versions: the last message edited, and earlier answers and messages looked at again."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from runner.chat.events import Failed
from runner.chat.sessions.entries import Draft, draft_of
from runner.chat.turn import Turn
from runner.tui.composer import TypedMessage
from runner.tui.shared import EARLIER, EDIT, LATER
from runner.tui.talking import ChatTalk
from runner.tui.turnview import VersionWanted
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp


class EditingLine(Static):
    """Says that the composer holds an earlier message."""

    SCOPED_CSS = False  # the screen's class counts
    DEFAULT_CSS = """
    EditingLine { height: 1; padding: 0 3; color: $text-accent; display: none;
        text-wrap: nowrap; text-overflow: ellipsis; }
    .-compact EditingLine { padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__("Editing the message · Esc leaves it")


class Versions(Wing):
    """Asks the last message in other words, and shows what stood in its place before.

    Nothing is replaced: each message and each answer that was there stays a version.
    """

    title = "Versions"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._line = EditingLine()
        self._edits: Turn | None = None  # the turn whose message is in the composer
        self._asked: tuple[Turn, Turn] | None = None  # the edited one, and the turn before it

    def panels(self) -> Iterable[Widget]:
        """Return the line that says what is edited."""
        return (self._line,)

    @property
    def edits(self) -> Turn | None:
        """The turn whose message is being edited, None where none is."""
        return self._edits

    # --- editing -----------------------------------------------------------------------------

    def edit(self, _: str) -> None:
        """Put the last message back into the composer."""
        chat = self.chat
        turn = chat.conversation.retriable()
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
        elif turn is None:
            chat.hint("No message to edit.")
        elif not chat.composer.empty:
            chat.hint("Send or clear what is typed first.")
        else:
            chat.composer.give_back(turn.text, turn.pictures, turn.files)
            self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        self._edits, self._asked = turn, None
        self._line.display = True
        self.chat.composer.prompt.focus()

    def leave(self) -> bool:
        """Edit no more: what is in the composer is a message of its own. False: nothing was."""
        turn, self._edits = self._edits, None
        self._line.display = False
        return turn is not None

    def cancel(self) -> bool:
        """Leave the message as it is; what was changed stays in the composer. False: none was."""
        turn = self._edits
        if turn is None:
            return False
        self.leave()
        composer = self.chat.composer
        now = Draft(composer.text.strip(), tuple(composer.pictures))
        if now == draft_of(turn.text, turn.pictures, turn.files):
            composer.take()
        elif not composer.empty:
            self.chat.hint("What you changed is a new message now.")
        return True

    async def begin_turn(self, message: TypedMessage) -> Turn:
        """Show a new turn, in place of the one that is edited; return it."""
        chat, edited = self.chat, self._edits
        self.leave()
        self._asked = None
        if edited is None or edited not in chat.conversation.turns:
            turn = chat.conversation.append(*message)
            await chat.transcript.added()
            return turn
        turn = chat.conversation.edit(edited, *message)
        self._asked = turn, edited
        await chat.show_branch()
        return turn

    def ended(self, message: ChatTalk.Ended) -> None:
        """Give an edited message back that was not answered, once the chat has taken it in."""
        self.chat.call_later(self._after, message.turn)

    def host_changed(self, message: ChatTalk.HostChanged) -> None:
        """Go on editing where there is no engine: the chat gives the message back."""
        if isinstance(message.event, Failed) and self._asked is not None:
            self.chat.call_later(self._after, self._asked[0])

    def _after(self, turn: Turn) -> None:
        asked, self._asked = self._asked, None
        if asked is None or asked[0] is not turn or turn in self.chat.conversation.turns:
            return
        composer = self.chat.composer
        if turn.text not in composer.text or (not composer.pictures and turn.pictures):
            composer.give_back(turn.text, turn.pictures, turn.files)
        self._begin(asked[1])

    # --- looking at versions -----------------------------------------------------------------

    async def earlier(self, _: str) -> None:
        """Show the version before, of the last message that has one."""
        await self._step(-1)

    async def later(self, _: str) -> None:
        """Show the version after, of the last message that has one."""
        await self._step(1)

    async def clicked(self, message: VersionWanted) -> None:
        """Show another version of the message that was clicked on."""
        if not self._busy():
            await self._switch(message.turn, message.step)

    async def _step(self, step: int) -> None:
        if self._busy():
            return
        chats = self.chat.conversation
        for turn in reversed(chats.turns):
            version, count = chats.siblings(turn)
            if 1 <= version + step <= count:
                await self._switch(turn, step)
                return
        self.chat.hint("No earlier version." if step < 0 else "No later version.")

    def _busy(self) -> bool:
        if self.chat.busy:
            self.chat.hint("Still answering: Esc stops it.")
        return self.chat.busy

    async def _switch(self, turn: Turn, step: int) -> None:
        chat = self.chat
        if turn not in chat.conversation.turns:
            return
        self.leave()
        if chat.conversation.switch(turn, step) is turn:
            return
        chat.transcript.notice(None)
        await chat.show_branch()
        chat.unsent.changed()  # which version stands is saved, too
        chat.show_status()

    actions = (
        EDIT.by(edit),
        EARLIER.by(earlier, keys=("alt+left",)),
        LATER.by(later, keys=("alt+right",)),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        VersionWanted: clicked,
        ChatTalk.Ended: ended,
        ChatTalk.HostChanged: host_changed,
    }
