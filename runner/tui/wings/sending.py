"""Sending: what Enter does with what is typed, and how an answer is stopped or asked again.

What is sent while an answer runs waits above the composer and is asked after it. Whoever stops the
answer, or loses it to an error, gets what waits back: it may not fit any more.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import TextArea

from runner.base.errors import UsageError
from runner.chat.events import Failed
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture
from runner.tui.actions import Action, parse_command
from runner.tui.composer import Prompt, TypedMessage
from runner.tui.note_lines import NoteLines
from runner.tui.paste import find_pictures
from runner.tui.shared import RETRY
from runner.tui.talking import ChatTalk
from runner.tui.wings.built_in import built_in
from runner.tui.wings.copying import Copying
from runner.tui.wings.files import Files
from runner.tui.wings.going_on import GoingOn
from runner.tui.wings.pictures import PictureWing
from runner.tui.wings.server_wait import WaitingForServers
from runner.tui.wings.versions import Versions
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp

TWICE_S = 3.0  # two presses of Ctrl+C within it quit
WAITING = 10  # messages: nobody keeps more of them in mind
ROW_CHARS = 300  # wider than a terminal


class WaitingLine(NoteLines):
    """The messages that wait for the answer to end, one a line."""

    ROWS = 3

    def show(self, messages: Sequence[TypedMessage]) -> None:
        """Show messages, or nothing."""
        shown = messages[-self.rows :]
        lines = [Content(waiting_row(message.text, message.pictures)) for message in shown]
        if (more := len(messages) - len(shown)) > 0:
            lines[0] += f"  (and {more} before it)"
        if lines:
            lines[-1] += Content.styled("  Esc takes it back", "$foreground-muted")
        self.say(lines)


def waiting_row(text: str, pictures: Sequence[Picture]) -> str:
    """Return the line that stands for a message that waits."""
    beginning = " ".join(text[:ROW_CHARS].split())
    images = f"{len(pictures)} images" if len(pictures) > 1 else "1 image" if pictures else ""
    return f"↳ next: {' · '.join(filter(None, (images, beginning)))}"


class Sending(Wing):
    """Takes the composer's text: a command, pictures, or a message."""

    title = "Message"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._asked_to_quit_at = float("-inf")
        self._line = WaitingLine()

    def panels(self) -> Iterable[Widget]:
        """Return the line of what waits."""
        return (self._line,)

    async def sent(self, _: Prompt.Sent) -> None:
        """Run the command, load the pictures, or send the message."""
        chat = self.chat
        text = chat.composer.text
        if chat.composer.empty:
            await chat.wing(GoingOn).entered()
            return
        try:
            typed = parse_command(text, chat.commands)
        except UsageError as error:
            chat.problem(error)
            return
        pictures = chat.wing(PictureWing)
        if typed is not None:
            chat.composer.prompt.clear()
            chat.run_command(*typed)
        elif paths := find_pictures(text):
            chat.composer.prompt.clear()
            pictures.load(paths, typed=text)
        elif pictures.loading:
            pictures.send_when_loaded = True
            chat.hint("Will be sent as soon as the image is loaded.")
        elif chat.wing(Files).holds_back():
            pass  # it is sent as soon as its files are read
        elif not chat.busy:
            await self._ask(chat.composer.take())
        elif len(chat.waiting) >= WAITING:
            chat.hint(f"{WAITING} messages are waiting: Esc takes the last one back.")
        else:
            chat.waiting.append(chat.composer.take())
            self._waiting_changed()

    async def _ask(self, message: TypedMessage) -> None:
        turn = await self.chat.wing(Versions).begin_turn(message)
        self.chat.unsent.keep()  # it is sent: no draft any more
        await self.chat.ask(turn)

    def _waiting_changed(self) -> None:
        self._line.show(self.chat.waiting)
        self.chat.unsent.changed()

    def _take_back_waiting(self, keep: int = 0) -> bool:
        """Put what waits back into the composer, but for the first `keep`. False: nothing does."""
        back = self.chat.waiting[keep:]
        del self.chat.waiting[keep:]
        for message in reversed(back):
            self.chat.composer.give_back(*message)
        if back:
            self._waiting_changed()
        return bool(back)

    def ended(self, message: ChatTalk.Ended) -> None:
        """Ask what waits, once the chat has taken the end of the answer in."""
        self.chat.call_later(self._after, message.turn)

    async def _after(self, turn: Turn) -> None:
        if turn.phase is not TurnState.DONE:
            self._take_back_waiting()
        elif self.chat.waiting and not self.chat.busy:
            message = self.chat.waiting.pop(0)
            self._waiting_changed()
            await self._ask(message)

    def host_changed(self, message: ChatTalk.HostChanged) -> None:
        """Give back what waits where there will be no engine."""
        if isinstance(message.event, Failed):
            self._take_back_waiting()

    def typed(self, _: TextArea.Changed) -> None:
        """Have the draft saved soon."""
        self.chat.unsent.changed()

    async def stop(self, _: str) -> None:
        """Take a waiting message back, the last one first; else stop editing, or the answer.

        Where that waits for the tools of a server, it is asked without them.
        """
        if self._take_back_waiting(keep=len(self.chat.waiting) - 1):
            return
        if self.chat.wing(Versions).cancel() or self.chat.wing(WaitingForServers).go_without():
            return
        if await self.chat.take_back_queued():
            self.chat.show_status()
        elif not await self.chat.stop_answer():
            self.chat.screen.clear_selection()

    async def interrupt(self, _: str) -> None:
        """Copy what is selected; else stop the answer; else ask. Twice in a row quits."""
        now = time.monotonic()
        if self.chat.wing(Copying).copy_selected():
            return
        if now - self._asked_to_quit_at < TWICE_S:
            await self.chat.action_quit()
            return
        self._asked_to_quit_at = now
        if await self.chat.stop_answer():
            self.chat.hint("Stopped. Ctrl+C again quits.")
        elif self.chat.composer.empty:
            self.chat.hint("Ctrl+C again quits.")
        else:
            self.chat.hint("Ctrl+C again quits; your text is kept.")

    async def retry(self, _: str) -> None:
        """Ask the last question again; start the engine again where it is gone."""
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
        elif (turn := chat.conversation.retriable()) is not None:
            chat.wing(Versions).leave()
            chat.transcript.follow()
            await chat.ask(turn, again=True)
        elif not chat.host_task.alive() and not chat.host_task.loading:
            chat.transcript.notice(None)
            await chat.host_task.restart()
            chat.show_status()
        else:
            chat.hint("Nothing to ask again.")

    actions = (
        built_in(
            *(Prompt.BINDINGS, "composer.send"),
            does="send; while an answer runs, the message waits for its end",
        ),
        built_in(Prompt.BINDINGS, "composer.newline", does="new line"),
        built_in(
            *(Prompt.BINDINGS, "composer.earlier", "composer.later"),
            does="earlier messages, while nothing is typed",
        ),
        RETRY.by(retry),
        Action(
            "chat.stop",
            "take a waiting message back; leave an edit; stop the answer",
            stop,
            keys=("escape",),
        ),
        Action(
            "chat.interrupt",
            "copy the selection, stop the answer, or (twice) quit",
            interrupt,
            keys=("ctrl+c",),
            priority=True,
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        Prompt.Sent: sent,
        TextArea.Changed: typed,
        ChatTalk.Ended: ended,
        ChatTalk.HostChanged: host_changed,
    }
