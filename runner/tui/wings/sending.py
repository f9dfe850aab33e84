"""Sending: what Enter does with what is typed, and how an answer is stopped or asked again."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widgets import TextArea

from runner.base.errors import UsageError
from runner.tui.actions import Action, parse_command
from runner.tui.composer import Prompt
from runner.tui.paste import find_pictures
from runner.tui.wings.built_in import built_in
from runner.tui.wings.copying import Copying
from runner.tui.wings.pictures import PictureWing
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp

TWICE_S = 3.0  # two presses of Ctrl+C within it quit


class Sending(Wing):
    """Takes the composer's text: a command, pictures, or a message."""

    title = "Message"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._asked_to_quit_at = float("-inf")

    async def sent(self, _: Prompt.Sent) -> None:
        """Run the command, load the pictures, or send the message."""
        chat = self.chat
        text = chat.composer.text
        if chat.composer.empty:
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
        elif chat.busy:
            chat.hint("Still answering: Esc stops it.")
        else:
            turn = chat.conversation.append(*chat.composer.take())
            chat.conversation.keep_draft("", ())
            await chat.transcript.added()
            await chat.ask(turn)

    def typed(self, _: TextArea.Changed) -> None:
        """Have the draft saved soon."""
        self.chat.unsent_changed()

    async def stop(self, _: str) -> None:
        """Stop the answer, or take a waiting message back."""
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
            chat.transcript.follow()
            await chat.ask(turn, again=True)
        elif not chat.host_task.alive() and not chat.host_task.loading:
            chat.transcript.notice(None)
            await chat.host_task.restart()
            chat.show_status()
        else:
            chat.hint("Nothing to ask again.")

    actions = (
        built_in(Prompt.BINDINGS, "composer.send", does="send"),
        built_in(Prompt.BINDINGS, "composer.newline", does="new line"),
        built_in(
            *(Prompt.BINDINGS, "composer.earlier", "composer.later"),
            does="earlier messages, while nothing is typed",
        ),
        Action("chat.retry", "ask the last question again", retry, command="retry"),
        Action("chat.stop", "stop the answer; take a waiting message back", stop, keys=("escape",)),
        Action(
            "chat.interrupt",
            "copy the selection, stop the answer, or (twice) quit",
            interrupt,
            keys=("ctrl+c",),
            priority=True,
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {Prompt.Sent: sent, TextArea.Changed: typed}
