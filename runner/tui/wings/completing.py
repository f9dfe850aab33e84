"""Completing: while the name of a file is typed after an @, a list of what may be meant."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widget import Widget
from textual.widgets import TextArea

from runner.chat.files.mentions import PATH_CHARS, TypedPath, mention_of, typed_path
from runner.tui.completion import FileList
from runner.tui.composer import Prompt
from runner.tui.wings.built_in import built_in
from runner.tui.wings.files import Files
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.chat.files.candidates import Candidates
    from runner.chat.files.completing import Completer
    from runner.tui.app import ChatApp


class Completing(Wing):
    """Shows which files fit what is typed, and puts the chosen one into the message."""

    title = "Names of files"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._list = FileList()
        self._completer: Completer | None = None  # loaded with the first name
        self._typed: TypedPath | None = None
        self._asking = self._take_first = False
        self._closed = ""  # the path for which the list was closed

    def panels(self) -> Iterable[Widget]:
        """Return the list."""
        return (self._list,)

    @property
    def _prompt(self) -> Prompt:
        return self.chat.composer.prompt

    def changed(self, _: Message) -> None:
        """Look at what is at the cursor now."""
        self._complete()

    def _complete(self) -> None:
        """Look for what may become of the path at the cursor."""
        prompt = self._prompt
        row, column = prompt.cursor_location
        line = prompt.document.get_line(row)[max(0, column - PATH_CHARS) : column]
        typed = typed_path(line) if prompt.selection.is_empty else None
        if typed == self._typed:
            return
        self._typed = typed
        if typed is None or typed.path == self._closed:
            self._hide()
            return
        self._closed = ""
        prompt.chooses = self._key
        if not self._asking:
            self._asking = True
            self.chat.run_worker(self._ask(), group="completing", exit_on_error=False)

    async def _ask(self) -> None:
        try:
            while (typed := self._typed) is not None:
                found = await asyncio.to_thread(self._found, typed.path)
                if typed != self._typed:
                    continue
                self._list.show(found)
                self._prompt.chooses = self._key if found.rows else None
                self.chat.wing(Files).look_soon()
                if self._take_first:
                    self._key("tab")
                return
        finally:
            self._asking = self._take_first = False

    def _found(self, path: str) -> "Candidates":
        """Return what fits a path. Blocks."""
        if self._completer is None:
            from runner.chat.files.completing import Completer  # noqa: PLC0415

            self._completer = Completer(Path())
        return self._completer.complete(path)

    def _hide(self) -> None:
        self._take_first = False
        self._list.hide()
        self._prompt.chooses = None
        self.chat.wing(Files).look_soon()

    def _key(self, key: str) -> None:
        """Do what a key does while there is a list, or one is being made."""
        fresh = self._typed is not None and self._list.found.typed == self._typed.path
        marked = self._list.marked if fresh else None
        match key:
            case "escape":
                self._closed = self._typed.path if self._typed else ""
                self._hide()
            case "up" | "down":
                self._list.move(-1 if key == "up" else 1)
            case "tab" if marked is None:
                self._take_first = self._asking
            case "enter" if marked is None:
                self._hide()
                self._prompt.action_send()
            case _ if marked is not None:
                self._take(marked.path, on=marked.folder and key == "tab")

    def _take(self, path: str, *, on: bool) -> None:
        """Put a path in place of what is typed; `on`: the user goes on in that folder."""
        prompt = self._prompt
        row, column = prompt.cursor_location
        length = self._typed.length if self._typed else 0
        text = mention_of(path)
        if on:
            text = text.removesuffix('"') if text.startswith('@"') else text
        elif path == (self._typed.path if self._typed else ""):
            self._closed = path
        self.chat.wing(Files).trust(path)
        prompt.replace(text if on else f"{text} ", (row, column - length), (row, column))

    actions = (
        built_in(
            *(Prompt.BINDINGS, "composer.choose_tab"),
            does="after an @: take the marked file, as Enter does, or open the marked folder",
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        TextArea.Changed: changed,
        TextArea.SelectionChanged: changed,
    }
