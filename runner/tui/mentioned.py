"""What a message's mentions of files have turned out to be, and the lines that say so."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from textual.content import Content

from runner.base.errors import SteprunError
from runner.base.text import clean_name
from runner.chat.files.attached import Attachment, label
from runner.chat.files.mentions import Mention
from runner.tui.note_lines import NoteLines

_NAME_CHARS: Final = 60


@dataclass(eq=False, slots=True)
class MentionedFile:
    """What a mention has turned out to be: a file, once it is read, or just text."""

    mention: Mention
    pasted: bool = False
    path: Path | None = None
    attachment: Attachment | None = None
    error: SteprunError | None = None
    read: asyncio.Event = field(default_factory=asyncio.Event)

    def chip(self, *, rate: float, prices: bool) -> Content | None:
        """Return the line that stands for it, None where it is text. As for `picture_label`."""
        name = clean_name(self.mention.name, _NAME_CHARS)
        if self.path is not None and self.pasted:
            return Content(f"@{name} was pasted and stays text. To attach it: /attach {name}")
        if self.error is not None:
            return Content.styled(f"[File] {name} · {self.error.why}", "$text-warning")
        if (found := self.attachment) is not None:
            drawn = sum(picture.tokens for picture in found.pictures)
            parts = [label(found.file, rate=rate)]
            if drawn:
                parts.append(f"pictures: {drawn:,} tokens" if prices else "with pictures")
            return Content(" · ".join((*parts, *found.notes)))
        return Content(f"[File] {name} · reading …") if self.path is not None else None


class FileChips(NoteLines):
    """The files that the message mentions, one a line."""

    ROWS = 6

    def show(self, chips: list[Content]) -> None:
        """Show lines, as many as there is room for."""
        if (more := len(chips) - self.rows) > 0:
            del chips[:more]
            chips[0] = Content(f"(+{more}) ") + chips[0]
        self.say(chips)
