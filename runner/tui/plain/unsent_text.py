"""What a plain chat has that is not sent: texts that came back, images, files, what is typed."""

from collections.abc import Sequence

from runner.chat.files.attached import AttachedFile, Attachment, kept_of, own_pictures
from runner.chat.sessions.entries import Draft
from runner.chat.wire import Picture
from runner.tui.plain.keyboard import Keyboard


class UnsentText:
    """`kept`: a text that was to be sent and was not; it stays until it is sent or dropped."""

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        self.kept = ""
        self.pictures: list[Picture] = []
        self.files: list[Attachment] = []

    def now(self) -> Draft:
        """Return all of it, as it is saved."""
        text = "\n".join(part for part in (self.kept, self._keyboard.typed()) if part)
        return Draft(text, tuple(self.pictures))

    def give_back(
        self, text: str, pictures: tuple[Picture, ...] = (), files: tuple[AttachedFile, ...] = ()
    ) -> None:
        """Keep a message that was not sent, before what is kept already."""
        self.kept = "\n".join(part for part in (text, self.kept) if part)
        self.pictures[:0] = own_pictures(pictures, files)
        self.files[:0] = kept_of(files, pictures).values()

    def take_text(self) -> str:
        """Return the text that is kept, and keep none."""
        text, self.kept = self.kept, ""
        return text

    def take_attached(self) -> tuple[tuple[Picture, ...], tuple[AttachedFile, ...]]:
        """Return the images, those of the files last, and the files; keep none."""
        files: Sequence[Attachment] = self.files
        pictures = (*self.pictures, *(picture for each in files for picture in each.pictures))
        self.pictures, self.files = [], []
        return pictures, tuple(each.file for each in files)

    def drop(self) -> None:
        """Forget it."""
        self.kept, self.pictures, self.files = "", [], []
