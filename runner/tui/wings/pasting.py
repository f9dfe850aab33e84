"""Pasting from the desktop's clipboard: a bitmap that no terminal hands over, or text.

What is pasted is the user's own word, and is sent as it is, also what is a control token to an
engine: `chat.inert` breaks those up in files and in what tools return.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message

from runner.base.errors import Refused
from runner.tui.actions import Action
from runner.tui.composer import Prompt
from runner.tui.wings.built_in import built_in
from runner.tui.wings.pictures import PictureWing
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.clipboard_read import Clipboard


class Pasting(Wing):
    """Reads the clipboard in a thread, and attaches or inserts what it has."""

    title = "Clipboard"

    def wanted(self, message: Prompt.ClipboardWanted) -> None:
        """Paste: a key was pressed."""
        self._begin(prefer_text=not message.picture)

    def pasted(self, message: Prompt.Pasted) -> None:
        """Look for a picture where a terminal pasted nothing: it has no text to hand over."""
        if not message.text:
            self._begin(prefer_text=False)

    def paste(self, _: str) -> None:
        """Paste: the command was typed."""
        self._begin(prefer_text=False)

    def _begin(self, *, prefer_text: bool) -> None:
        self.chat.loading_pictures += 1  # Enter waits for it, as for a picture from a file
        self.chat.show_status()
        self.chat.run_worker(
            self._read(prefer_text=prefer_text), group="clipboard", exit_on_error=False
        )

    async def _read(self, *, prefer_text: bool) -> None:
        found: Clipboard | None
        failed: Refused | None = None
        try:
            found = await asyncio.to_thread(_read, prefer_text=prefer_text)
        except Refused as error:
            found, failed = None, error
        finally:
            self.chat.loading_pictures -= 1
        # What was copied in the chat itself is there in any case.
        copied = self.chat.clipboard if prefer_text else ""
        self.chat.call_later(self._take, found, copied, failed)

    def _take(self, found: "Clipboard | None", copied: str, failed: Refused | None) -> None:
        pictures = self.chat.wing(PictureWing)
        if found and found.picture and self.chat.setup.sees:
            data, name = found.picture, f"clipboard {time.strftime('%H:%M')}.{found.suffix}"
            pictures.attach_all([lambda shop: shop.load_bytes(data, name)])
            return
        pictures.send_when_loaded = False
        if found and found.picture:
            self.chat.problem(self.chat.blind())
        elif text := found.text if found else copied:
            pictures.pasted(Prompt.Pasted(text))
        elif failed is not None:
            self.chat.problem(failed)
        self.chat.show_status()

    actions = (
        Action("composer.paste_command", "paste the picture of the clipboard", paste, "paste"),
        built_in(Prompt.BINDINGS, "composer.paste", does="paste text, or the clipboard's picture"),
        built_in(
            *(Prompt.BINDINGS, "composer.paste_picture"),
            does="paste the clipboard's picture, also where the terminal keeps Ctrl+V",
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        Prompt.ClipboardWanted: wanted,
        Prompt.Pasted: pasted,
    }


def _read(*, prefer_text: bool) -> "Clipboard":
    # Imported late, in the thread: the window opens without it.
    read: Callable[..., Clipboard] = import_module("runner.tui.clipboard_read").read_clipboard
    return read(prefer_text=prefer_text)
