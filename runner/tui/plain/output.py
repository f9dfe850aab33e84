"""Where plain lines are printed: a stream that gets whole lines, without a control character."""

import contextlib
import errno
import threading
from typing import TextIO

from runner.base.shell import as_typed
from runner.base.text import clean


class PlainOutput:
    """Prints to `stream`. `gone`: it takes nothing any more; what is printed then is dropped.

    `failure`: why it does not, where it is not that its reader has gone: that ends a chat quietly.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line_open = False
        self._lock = threading.Lock()
        self.gone = False
        self.failure: OSError | None = None

    def write(self, text: str) -> None:
        """Print a piece of a text, which may go on in the same line."""
        with self._lock:
            self._write(text)

    def say(self, text: str) -> None:
        """Print a text in lines of its own."""
        with self._lock:
            self._write("\n" if self._line_open else "")
            self._write(as_typed(text).rstrip("\n") + "\n")

    def show(self, *lines: str) -> None:
        """Print lines as they are: what somebody decides on, without our own words for a shell."""
        with self._lock:
            self._write("\n" if self._line_open else "")
            self._write("".join(f"{line}\n" for line in lines))

    def end_line(self) -> None:
        """Begin a new line, unless nothing stands in this one."""
        with self._lock:
            self._write("\n" if self._line_open else "")

    def entered(self) -> None:
        """Take in that the user has ended the line by Enter."""
        self._line_open = False

    def prompt(self, text: str) -> None:
        """Print what stands before the user's own words."""
        with self._lock:
            self._write(text)
            self._line_open = False  # as the terminal's echo ends it

    def _write(self, text: str) -> None:
        if not text or self.gone:
            return
        shown = clean(text)
        try:
            self._stream.write(shown)
            self._stream.flush()
        except (OSError, ValueError) as error:  # the reader has gone, or the stream is closed
            self.gone = True
            closed = isinstance(error, BrokenPipeError) or getattr(error, "errno", 0) == errno.EIO
            if isinstance(error, OSError) and not closed:  # EIO: a terminal that was closed
                self.failure = error
            with contextlib.suppress(OSError, ValueError):
                self._stream.close()
        if shown:
            self._line_open = not shown.endswith("\n")
