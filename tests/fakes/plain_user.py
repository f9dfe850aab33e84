"""Somebody who types lines into a plain chat, and what is printed for them. No terminal."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, cast

from runner.chat.host import ChatSetup
from runner.tui.plain.chat import PlainChat
from runner.tui.plain.keyboard import Keyboard
from runner.tui.plain.output import PlainOutput

Typed = str | Callable[[], object]


class PlainUser(io.TextIOBase):
    """Types `lines`, each with its line feed; what is no text is called in between."""

    def __init__(self, lines: Iterable[Typed]) -> None:
        super().__init__()
        self._lines: Iterator[Typed] = iter(lines)
        self._rest = ""
        self.printed = io.StringIO()
        self.chat: PlainChat | None = None

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        most = size if size is not None and size > 0 else sys.maxsize
        while not self._rest and (typed := next(self._lines, None)) is not None:
            if isinstance(typed, str):
                self._rest = f"{typed}\n"
            else:
                typed()
        line, self._rest = self._rest[:most], self._rest[most:]
        return line

    def isatty(self) -> bool:
        return False

    def run(self, setup: ChatSetup) -> int:
        """Chat; return the exit code. What was printed is in `printed`."""
        out = PlainOutput(self.printed)
        self.chat = PlainChat(setup, Keyboard(cast(TextIO, self), out), out)
        return self.chat.run()

    @property
    def text(self) -> str:
        """What was printed."""
        return self.printed.getvalue()
