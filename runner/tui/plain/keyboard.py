"""The user's messages: lines from a terminal, or from a pipe, of which each is a message.

A backslash at the end of a line goes on in the next one. Lines that arrive at once, as pasted ones
do, are one message.
"""

import contextlib
import ctypes
import os
import select
import sys
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Final, TextIO

from runner.base.errors import Refused
from runner.tui.actions import looks_like_command
from runner.tui.plain.output import PlainOutput

MESSAGE_BYTES: Final = 1 << 20  # as the window takes
PROMPT, GOES_ON = "> ", ". "
TOGETHER_S: Final = 0.05  # between two lines of one paste; nobody types a line in that time
HISTORY: Final = 200


class Keyboard:
    """Reads messages. `stream` is the terminal or the pipe; `edits`: with Python's readline.

    `parts`: the lines of the message that is being typed. `asking`: the prompt, while the user is
    asked.
    """

    def __init__(self, stream: TextIO, out: PlainOutput, *, edits: bool = False) -> None:
        self._stream = stream
        self._out = out
        self.terminal = _is_terminal(stream)
        self._readline = _readline() if edits and self.terminal else None
        self._prompts = self.terminal and stream is sys.stdin and _is_terminal(sys.stdout)
        self._hook: object = None
        self._dropped = 0  # characters of a line that is longer than any message
        self.parts: list[str] = []
        self._line: deque[str] = deque(maxlen=1)
        self.asking = ""

    def remember(self, texts: list[str]) -> None:
        """Let Up find earlier messages, where there is line editing."""
        if self._readline is not None:
            self._readline.clear_history()
            for text in texts[-HISTORY:]:
                self._readline.add_history(text)

    def message(self) -> str:
        """Return the next message. Blocks.

        Raises `EOFError` at the end, `Refused` for one that is too long, and whatever a signal
        raises.
        """
        self.parts.clear()
        size = 0
        while True:
            line = self._read(GOES_ON if self.parts else PROMPT)
            size += len(line.encode("utf-8", "replace")) + 1 + self._dropped
            goes_on = line.endswith("\\")
            if size <= MESSAGE_BYTES:
                self.parts.append(line.removesuffix("\\"))
            alone = len(self.parts) == 1 and looks_like_command(line)
            if not goes_on and (alone or not self._more_waits()):
                break
        if size > MESSAGE_BYTES:
            self.parts.clear()
            raise Refused(
                "The message is too long.",
                why=f"It has {size:,} bytes; the limit is {MESSAGE_BYTES:,}.",
                next="Send a part.",
            )
        text = "\n".join(self.parts)
        self.parts.clear()
        return text

    @property
    def line(self) -> str:
        """What stands in the line that is not ended yet, where `watch` can know it."""
        lines = list(self._line)
        return lines[0] if lines and self.asking else ""

    def typed(self) -> str:
        """Return what is typed of the message so far."""
        line = self.line
        return "\n".join([*self.parts, line] if line else list(self.parts))

    def say_meanwhile(self, text: str) -> None:
        """Say something while the user types; what is typed is shown again after it."""
        asking, line = self.asking, self.line
        if not asking or not self.terminal:
            self._out.say(text)
            return
        self._out.write("\n")
        self._out.say(text)
        self._out.prompt(asking + line)

    def _read(self, prompt: str) -> str:
        self._line.clear()
        self.asking = prompt
        try:
            return self._line_from(prompt)
        except OSError as error:  # the terminal was closed
            self._keep_line()
            raise EOFError from error
        except BaseException:  # of a signal
            self._keep_line()
            raise
        finally:
            self.asking = ""
            self._out.entered()

    def _line_from(self, prompt: str) -> str:
        if self._prompts:
            self._out.end_line()
            return input(prompt)
        self._out.prompt(prompt)
        line = self._stream.readline(MESSAGE_BYTES + 2)
        if not line:
            raise EOFError
        self._drop_rest(line)
        line = line.removesuffix("\n").removesuffix("\r")
        if not self.terminal:  # so that a log has both sides
            self._out.write(f"{line}\n")
        return line

    def _keep_line(self) -> None:
        """Keep what stands in the line as a part of the message: it may be wanted after all."""
        if line := self.line:
            self.parts.append(line)

    def _drop_rest(self, line: str) -> None:
        """Read on to the end of a line that is too long, and count what is dropped."""
        self._dropped = 0
        while line and not line.endswith("\n"):
            line = self._stream.readline(MESSAGE_BYTES)
            self._dropped += len(line.removesuffix("\n"))

    def _more_waits(self) -> bool:
        """Whether the next line is there already, as with a paste."""
        if not self.terminal:
            return False
        with contextlib.suppress(OSError, ValueError):
            if sys.platform == "win32":
                import msvcrt  # noqa: PLC0415 - there only

                return bool(msvcrt.kbhit())
            return bool(select.select([self._stream.fileno()], [], [], TOGETHER_S)[0])
        return False

    def watch(self) -> None:
        """Note what is typed as it is typed, where readline tells it."""
        if self._readline is not None:
            # Only C code runs between two keys: where Python ran, a signal's handler would run
            # in it, and a Ctrl+C that is raised there goes nowhere.
            noting = map(self._line.append, iter(self._readline.get_line_buffer, None))
            with contextlib.suppress(ValueError):  # a Python that does not have it
                self._hook = call_between_keys(noting.__next__)

    def watch_no_more(self) -> None:
        """Note nothing any more."""
        if self._hook is not None:
            call_nothing_between_keys()
            self._hook = None


def call_between_keys(call: Callable[[], object]) -> object:
    """Call a function of C between the keys that readline waits for; return what is to be kept.

    By `PyOS_InputHook` of Python's C interface, in the thread that reads: readline's own line may
    move in memory while another thread reads it.
    """
    hooked = ctypes.CFUNCTYPE(None)(call)
    place = ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyOS_InputHook")
    place.value = ctypes.cast(hooked, ctypes.c_void_p).value
    return hooked


def call_nothing_between_keys() -> None:
    """Forget what was to be called."""
    ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyOS_InputHook").value = None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _readline() -> ModuleType | None:
    """Return Python's readline without its escape codes, None where there is none."""
    if os.environ.get("TERM", "dumb") == "dumb":  # it would redraw lines with what is no cursor
        return None
    try:
        import readline  # noqa: PLC0415 - it changes how input() reads
    except ImportError:  # Windows
        return None
    readline.parse_and_bind("set enable-bracketed-paste off")
    readline.parse_and_bind("set enable-active-region off")
    readline.parse_and_bind("set bell-style none")
    readline.parse_and_bind("tab: self-insert")
    readline.set_auto_history(True)
    return readline
