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
ECHOED: Final = 200  # characters of a line that is too long


class Keyboard:
    """Reads messages. `stream` is the terminal or the pipe; `edits`: with Python's readline.

    `parts`: the lines of the message that is being typed. `asking`: the prompt, while the user is
    asked. `pasted`: the last message came in lines that were there at once.
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
        self._ahead: deque[str | None] = deque()  # lines that were read ahead; None: the end
        self._noting = True
        self.pasted = False

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
        self.pasted = False
        size = 0
        while True:
            line = self._read(GOES_ON if self.parts else PROMPT)
            size += len(line.encode("utf-8", "replace")) + 1 + self._dropped
            goes_on = line.endswith("\\")
            if size <= MESSAGE_BYTES:
                self.parts.append(line.removesuffix("\\"))
            alone = len(self.parts) == 1 and looks_like_command(line)
            if not goes_on:
                if alone or not self._more_waits():
                    break
                self.pasted = True
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

    def answer(self, prompt: str) -> str:
        """Return the answer to a question of ours: a line that is no message, and not kept.

        Blocks. Raises `EOFError` at the end, and whatever a signal raises.
        """
        self._noting = False
        if sys.platform == "win32" and self.terminal:  # what was typed before is no answer
            import msvcrt  # noqa: PLC0415 - there only

            while msvcrt.kbhit():
                msvcrt.getwch()
        if self._readline is not None:
            self._readline.set_auto_history(False)
        try:
            return self._read(prompt, ahead=False)
        finally:
            self._noting = True
            if self._readline is not None:
                self._readline.set_auto_history(True)

    def take_waiting(self) -> tuple[str, ...]:
        """Read the lines that were entered already; they are a part of the next message.

        Returns what is read ahead by now. A terminal alone has such lines: it ends them itself.
        """
        while self.terminal and None not in self._ahead and self._in_front() and self._waits(0):
            line = self._stream.readline(MESSAGE_BYTES + 2)
            self._drop_rest(line)
            self._ahead.append(line.removesuffix("\n").removesuffix("\r") if line else None)
        return tuple(line for line in self._ahead if line is not None)

    def forget_last(self) -> None:
        """Forget the line that was read ahead last: it was obeyed at once."""
        self._ahead.pop()

    def _in_front(self) -> bool:
        """Whether a line may be read: the system stops a job in the background that reads one."""
        if sys.platform == "win32":
            return False
        with contextlib.suppress(OSError, ValueError):
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        return False

    @property
    def line(self) -> str:
        """What stands in the line that is not ended yet, where `watch` can know it."""
        lines = list(self._line)
        return lines[0] if lines and self.asking and self._noting else ""

    def typed(self) -> str:
        """Return what is typed of the message so far, and of those that wait behind it."""
        ahead = [line for line in list(self._ahead) if line]
        return "\n".join([*self.parts, *filter(None, [self.line]), *ahead])

    def forget_typed(self) -> None:
        """Forget what is typed; an end that was typed stays one."""
        self.parts.clear()
        self._ahead = deque(line for line in self._ahead if line is None)

    def say_meanwhile(self, text: str) -> None:
        """Say something while the user types; what is typed is shown again after it."""
        asking, line = self.asking, self.line
        if not asking or not self.terminal:
            self._out.say(text)
            return
        self._out.write("\n")
        self._out.say(text)
        self._out.prompt(asking + line)

    def _read(self, prompt: str, *, ahead: bool = True) -> str:
        if ahead and self._ahead:
            return self._read_ahead(prompt)
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

    def _read_ahead(self, prompt: str) -> str:
        """Return the next of the lines that were read ahead, as if it was typed now."""
        self._dropped = 0
        line = self._ahead.popleft()
        if line is None:
            raise EOFError
        self._out.end_line()
        self._out.write(f"{prompt}{line}\n")
        return line

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
            more = len(line) - MESSAGE_BYTES
            shown = f"{line[:ECHOED]} …" if more > 0 else line  # it is refused
            self._out.write(f"{shown}\n")
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
        return any(line is not None for line in self._ahead) or self._waits(TOGETHER_S)

    def _waits(self, seconds: float) -> bool:
        """Whether a line of the terminal can be read, within so many seconds."""
        if not self.terminal:
            return False
        with contextlib.suppress(OSError, ValueError):
            if sys.platform == "win32":
                import msvcrt  # noqa: PLC0415 - there only

                return bool(msvcrt.kbhit())
            return bool(select.select([self._stream.fileno()], [], [], seconds)[0])
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
