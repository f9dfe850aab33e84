"""Showing pictures: thumbnails beside the field and in questions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from runner.chat.wire import Picture
from runner.tui.actions import Action
from runner.tui.settings import THUMBNAILS
from runner.tui.thumbnails import COLOURS, PictureWanted, Thumbnails, draws_itself
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp


class ThumbnailArrived(Message):
    """A thumbnail has been made."""

    def can_replace(self, message: Message) -> bool:
        """Take the place of one that was not handled yet: all that are there are drawn at once."""
        return isinstance(message, ThumbnailArrived)


class PictureShow(Wing):
    """Draws the pictures of the chat."""

    title = "Looking at pictures"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._away = False  # another program has the terminal
        chat.thumbnails = Thumbnails(
            lambda making: chat.run_worker(making, group="thumbnails", exit_on_error=False),
            lambda: chat.post_message(ThumbnailArrived()),
        )
        chat.thumbnails.on = chat.settings.now.thumbnails != "off"

    def started(self) -> None:
        """Choose how to draw: by the terminal itself, in half blocks, or not with few colours."""
        chat = self.chat
        colours = "truecolor" if chat.is_headless else chat.console.color_system
        if colours not in COLOURS:
            chat.thumbnails.on = False
        if draws_itself(colours, chat.background.terminal, no_color=chat.no_color):
            chat.thumbnails.write = self._write
            chat.app_suspend_signal.subscribe(chat, self._suspended)
            chat.app_resume_signal.subscribe(chat, self._resumed)

    def _write(self, text: str) -> None:
        # Textual has no other way to the terminal; while another program has it, nothing is sent.
        if self.chat._driver is not None and not self._away:  # noqa: SLF001
            self.chat._driver.write(text)  # noqa: SLF001

    def _suspended(self, _: object) -> None:
        self._away = True

    def _resumed(self, _: object) -> None:
        """Draw all again: with the screen that an editor took, its pictures are gone."""
        self._away = False
        self.chat.thumbnails.forget()
        self._draw()

    def arrived(self, _: ThumbnailArrived) -> None:
        """Draw what has been made."""
        self._draw()

    def _draw(self) -> None:
        self.chat.composer.pictures_arrived()
        self.chat.transcript.renew()

    def switch(self, wanted: str) -> None:
        """Draw thumbnails or not: as it is said, else the other way round."""
        thumbnails = self.chat.thumbnails
        if wanted and wanted not in THUMBNAILS:
            self.chat.hint("Type /thumbnails on or /thumbnails off.")
            return
        thumbnails.on = wanted == "on" if wanted else not thumbnails.on
        word = "on" if thumbnails.on else "off"
        self.chat.remember(thumbnails=word)
        self._draw()
        self.chat.hint(f"Thumbnails are {word}.")

    def view(self, number: str) -> None:
        """Show an image large: number N of the message, else the last one of the chat."""
        attached = self.chat.composer.pictures
        past = self._past()
        last = self.chat.conversation.turns[-1].pictures if self.chat.conversation.turns else ()
        numbered = attached or last
        which = int(number) if number.isdecimal() else 0
        if not past and not attached:
            self.chat.hint("No image in this chat.")
        elif number and not 0 < which <= len(numbered):
            self.chat.hint("No such image.")
        else:
            self._show(numbered[which - 1] if number else [*past, *attached][-1])

    def wanted(self, message: PictureWanted) -> None:
        """Show the picture that was clicked."""
        self._show(message.picture)

    def _past(self) -> list[Picture]:
        return [
            picture
            for turn in self.chat.conversation.turns
            for group in (turn.pictures, *(step.pictures for step in turn.steps))
            for picture in group
        ]

    def _show(self, wanted: Picture) -> None:
        from runner.tui.picture_screens import LargePicture  # noqa: PLC0415 - opens without

        pictures = [*self._past(), *self.chat.composer.pictures]
        places = [at for at, each in enumerate(pictures) if each is wanted]
        if places:
            screen = LargePicture(pictures, places[-1], self.chat.composer.price)
            self.chat.push_screen(screen)

    actions = (
        Action(
            *("pictures.view", "show the last image, or image N, large", view, "view", "[N]"),
            keys=("alt+i",),
        ),
        Action(
            *("pictures.thumbnails", "draw pictures in the chat, or only name them", switch),
            *("thumbnails", "[on|off]"),
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        ThumbnailArrived: arrived,
        PictureWanted: wanted,
    }
