"""What a plain chat has that is not sent: texts that came back, images, and what is being typed."""

from runner.chat.sessions.entries import Draft
from runner.chat.wire import Picture
from runner.tui.plain.keyboard import Keyboard


class UnsentText:
    """`kept`: a text that was to be sent and was not; it stays until it is sent or dropped."""

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        self.kept = ""
        self.pictures: list[Picture] = []

    def now(self) -> Draft:
        """Return all of it, as it is saved."""
        text = "\n".join(part for part in (self.kept, self._keyboard.typed()) if part)
        return Draft(text, tuple(self.pictures))

    def give_back(self, text: str, pictures: tuple[Picture, ...] = ()) -> None:
        """Keep a text that was not sent, before what is kept already."""
        self.kept = "\n".join(part for part in (text, self.kept) if part)
        self.pictures[:0] = pictures

    def take(self) -> Draft:
        """Return what is kept, and keep nothing."""
        taken = Draft(self.kept, tuple(self.pictures))
        self.drop()
        return taken

    def take_pictures(self) -> tuple[Picture, ...]:
        """Return the images, and keep none."""
        pictures, self.pictures = tuple(self.pictures), []
        return pictures

    def drop(self) -> None:
        """Forget it."""
        self.kept, self.pictures = "", []
