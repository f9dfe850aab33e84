"""The prompt of `steprun chat`: from `-p`, and from text that is piped in."""

import os
import stat
import sys
import threading

import click

from runner.base.errors import UsageError

STDIN_S = 3.0  # for the first byte beside -p; a file that is piped in takes milliseconds
STDIN_BYTES = 16 << 20  # sixteen times what 262,144 tokens of context can hold of English


def read_prompt(given: str | None) -> str | None:
    """Return the prompt, or None for the TUI. Text that is piped in comes before that of -p.

    So the model reads a long document once, however many questions about it follow. Raises
    `UsageError` where it is longer than any context.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return given
    if given is None:
        return _decoded(sys.stdin.buffer.read(STDIN_BYTES + 1))
    piped = _decoded(_piped()).strip()
    return f"{piped}\n\n{given}" if piped else given


def _piped() -> bytes:
    """Return what a pipe or a file on stdin holds; nothing where nobody writes to it.

    A program that starts us may leave a pipe open and never write: that must not hang.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return b""
    descriptor = sys.stdin.fileno()
    chunks: list[bytes] = []
    begun = threading.Event()

    def read() -> None:
        # Past Python's own buffer: its lock would be held at exit by a thread that waits forever.
        left = STDIN_BYTES + 1
        while left > 0 and (chunk := os.read(descriptor, min(left, 1 << 16))):
            chunks.append(chunk)
            left -= len(chunk)
            begun.set()
        begun.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    if not begun.wait(STDIN_S):
        click.echo(f"Nothing arrived on stdin in {STDIN_S:.0f} s: continuing without it.", err=True)
        return b""
    reader.join()
    return b"".join(chunks)


def _decoded(data: bytes) -> str:
    if len(data) > STDIN_BYTES:
        raise UsageError(
            "The text on stdin is too long.",
            why=f"More than {STDIN_BYTES >> 20} MiB cannot fit any context.",
            next="Send a part.",
        )
    return data.decode("utf-8", "replace")
