"""What the terminal is: light or dark (OSC 11, COLORFGBG), and by which name (XTVERSION).

Asked before the interface starts, as its answer would be taken for typing later.
"""

import os
import re
import select
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

# What is the background? What is your name? Then: what are you? Every terminal answers the last
# (device attributes), in order, so that one that does not know the others costs no waiting.
# Source: XTerm Control Sequences, "Operating System Commands", "CSI > Ps q" and "CSI Ps c".
QUESTION: Final = b"\x1b]11;?\x1b\\\x1b[>0q\x1b[c"
PATIENCE_S: Final = 0.1
FAR_PATIENCE_S: Final = 0.4  # over SSH: an answer that is late is taken for typing
ANSWER_BYTES: Final = 4096
_COLOUR = re.compile(rb"\x1b\]11;rgba?:([0-9a-fA-F/]{5,40})(?:\x07|\x1b\\)")
_NAME = re.compile(rb"\x1bP>\|([ -\[\]-~]{0,80})\x1b\\")
_ATTRIBUTES = re.compile(rb"\x1b\[\?[0-9;]{0,64}c")
# The ANSI colours that are light as a background: white and the bright ones but black and blue.
_LIGHT_ANSI: Final = frozenset({7, 10, 11, 13, 14, 15})


@dataclass(frozen=True, slots=True)
class Background:
    """`light`: None where nobody knows. `typed`: what the user typed while it was asked.

    `terminal`: its name and version, empty where it does not say.
    """

    light: bool | None = None
    typed: str = ""
    terminal: str = ""


def parse_answer(data: bytes) -> Background:
    """Return what a terminal answered. Pure: any bytes are borne."""
    match, name = _COLOUR.search(data), _NAME.search(data)
    rest = data
    for answer in (_COLOUR, _NAME, _ATTRIBUTES):
        rest = answer.sub(b"", rest)
    words = rest.decode("utf-8", "ignore")
    # Keys that are not text (arrows) are not worth keeping, and must not be taken for text.
    typed = "" if "\x1b" in words else "".join(c for c in words if c.isprintable() or c == "\n")
    terminal = name[1].decode("ascii") if name else ""
    return Background(_is_light(match[1]) if match else None, typed, terminal)


def _is_light(colour: bytes) -> bool | None:
    """Return whether `ffff/ffff/ffff` (one to four digits each) is nearer to white than black."""
    try:
        parts = colour.split(b"/")
        red, green, blue = (int(part, 16) / ((1 << 4 * len(part)) - 1) for part in parts[:3])
    except (ValueError, ZeroDivisionError):
        return None
    # Luma as in ITU-R BT.601.
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5


def from_environment(environ: Mapping[str, str]) -> bool | None:
    """Return what COLORFGBG (`0;15`: foreground; background) says, None where nothing. Pure."""
    last = environ.get("COLORFGBG", "").rpartition(";")[2]
    return int(last) in _LIGHT_ANSI if last.isdecimal() and len(last) < 4 else None


def ask_terminal(environ: Mapping[str, str] = os.environ) -> Background:
    """Ask the terminal, for `PATIENCE_S` at most; not over a pipe. Never raises."""
    found = Background()
    with suppress(OSError, ValueError, AttributeError):  # no file behind it, closed, no terminal
        here, there = sys.__stdin__.fileno(), sys.__stdout__.fileno()  # type: ignore[union-attr]
        if os.isatty(here) and os.isatty(there):
            patience = FAR_PATIENCE_S if environ.get("SSH_CONNECTION") else PATIENCE_S
            found = parse_answer(_ask(here, there, patience))
    if found.light is None:
        found = replace(found, light=from_environment(environ))
    return found


def _ask(here: int, there: int, patience: float) -> bytes:
    """Send the question and return what arrives until it is answered."""
    try:
        import termios  # noqa: PLC0415 - not on Windows
        import tty  # noqa: PLC0415
    except ImportError:
        return b""
    if os.tcgetpgrp(here) != os.getpgrp():  # in the background, reading would stop the process
        return b""
    try:
        before = termios.tcgetattr(here)
        tty.setcbreak(here, termios.TCSADRAIN)  # neither waits for Enter, nor throws typing away
        try:
            os.write(there, QUESTION)
            return _receive(here, time.monotonic() + patience)
        finally:
            termios.tcsetattr(here, termios.TCSADRAIN, before)
    except termios.error as error:
        raise OSError(str(error)) from error


def _receive(here: int, until: float) -> bytes:
    data = b""
    while len(data) < ANSWER_BYTES and not _ATTRIBUTES.search(data):
        left = until - time.monotonic()
        if left <= 0 or not select.select([here], [], [], left)[0]:
            break
        if not (more := os.read(here, 256)):
            break
        data += more
    return data
