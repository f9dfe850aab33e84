"""The relay: stands between the chat and the program of one MCP server, and bounds what it does.

Runs as a process of its own, `python -I -S relay.py --log FILE -- PROGRAM…`, on the standard
library alone. It passes messages on in both directions: from the program only lines that are JSON
objects, none too long, and no more of them than a chat can take in. What the program writes to
its standard error goes to the log. When the chat dies, however it dies, the relay's standard input
ends; the program is then asked to end the same way, and is killed with all that it has started.

At the end the relay writes to its own standard error why there was one: a sentence, and the last
line that the program itself wrote there.
"""

import argparse
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Final, NoReturn

LINE_BYTES: Final = 8 << 20  # a message: a picture of 6 MB in base64; read in 1 s by the package
BAD_LINES: Final = 1000  # that are no messages: a program that prints a little is borne
LOG_BYTES: Final = 4 << 20  # then the log starts over
GRACE_S: Final = 1.5  # to end by itself; the mcp package kills the relay after 2 s
# What passes at once, and then a second. A message counts as SMALLEST at least: 2,000 of them pass
# at once, then 64 a second, which take the chat a few percent of a processor.
BURST_BYTES: Final = 64 << 20
RATE_BYTES: Final = 2 << 20
SMALLEST: Final = 32 << 10
SKIPPED: Final = 16  # times LINE_BYTES: what is read of an answer that is too long
_ANSWER: Final = re.compile(rb'\{"jsonrpc": ?"2\.0", ?"id": ?(\d{1,15}),')


class ServerLog:
    """What the program writes to its standard error: the newest part of it."""

    def __init__(self, path: Path) -> None:
        self.last = b""
        self._file: IO[bytes] | None = None
        with contextlib.suppress(OSError):  # without a log, the server still serves
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._file = os.fdopen(handle, "wb", buffering=0)

    def write(self, line: bytes) -> None:
        """Append; begin anew where it is full. A full disk must not stop the server."""
        with contextlib.suppress(OSError, ValueError):
            if self._file is not None:
                if os.fstat(self._file.fileno()).st_size + len(line) > LOG_BYTES:
                    self._file.truncate(0)
                self._file.write(line)

    def follow(self, source: IO[bytes]) -> None:
        """Take over everything until it ends."""
        while line := source.readline(1 << 16):
            self.last = line.strip() or self.last
            self.write(line)


class Throttle:
    """Waits so that no more than `RATE_BYTES` a second pass, after `BURST_BYTES` at once."""

    def __init__(self) -> None:
        self._left = float(BURST_BYTES)
        self._at = time.monotonic()

    def take(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        now = time.monotonic()
        self._left = min(BURST_BYTES, self._left + (now - self._at) * RATE_BYTES)
        self._left -= max(size, SMALLEST)
        self._at = now
        if self._left < 0:
            time.sleep(-self._left / RATE_BYTES)


class ServerProgram:
    """The program of the server, from its start to its end."""

    def __init__(self, argv: list[str], log: ServerLog) -> None:
        """Start it. Raises OSError where that is not possible."""
        self.log = log
        self._ending = threading.Lock()
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Safe here: no thread runs yet.
            preexec_fn=_die_with_relay if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        self._to_send: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        for work in (self._receive, self._send, self._listen):
            threading.Thread(target=work, daemon=True).start()

    def _receive(self) -> None:
        """Read what the chat sends; the end of it is the end of the program.

        A thread of its own: a program that does not read must not hide that the chat is gone.
        """
        while data := os.read(0, 1 << 16):
            self._to_send.put(data)
        self._to_send.put(b"")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.end("The chat ended.")

    def _send(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(OSError, ValueError):
            while data := self._to_send.get():
                self._process.stdin.write(data)
                self._process.stdin.flush()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        self.log.follow(self._process.stderr)

    def pass_messages_on(self) -> str:
        """Pass on what the program sends, until it ends; return why it did."""
        assert self._process.stdout is not None  # noqa: S101
        source, bad, throttle = self._process.stdout, 0, Throttle()
        while line := source.readline(LINE_BYTES + 1):
            throttle.take(len(line))
            if len(line) > LINE_BYTES:
                if not (line := _refusal(line)) or not _skip_line(source):
                    return f"It sent a message of more than {LINE_BYTES >> 20} MiB."
                self.log.write(b"steprun: a message was too long and was left out\n")
            if is_message(line):
                with contextlib.suppress(OSError):  # nobody reads any more: the end is near
                    sys.stdout.buffer.write(line)
                    sys.stdout.buffer.flush()
            elif line.strip():
                self.log.write(b"not a message: " + line[:200].rstrip() + b"\n")
                bad += 1
                if bad > BAD_LINES:
                    return "What it writes to its standard output are no MCP messages."
        return self._how_it_ended()

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "It closed its standard output."
        return (
            f"It was ended by signal {-status}."
            if status < 0
            else f"It ended with status {status}."
        )

    def end(self, why: str) -> NoReturn:
        """Kill what is left, say why, and end this process."""
        self._ending.acquire()  # the first reason counts; others wait here for the end
        time.sleep(0.02)  # for the last words of the program
        with contextlib.suppress(OSError):
            self._process.kill()
        kill_descendants()
        last = self.log.last[-1000:].decode("utf-8", "replace")
        self.log.write(f"steprun: {why}\n".encode())
        say(f"{why}\n{last}\n")
        if os.name == "posix" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # this process, too
        os._exit(0)


def _refusal(line: bytes) -> bytes:
    """Return an error in place of an answer that is too long; empty where it is none."""
    if not (found := _ANSWER.match(line)):
        return b""
    what = f"The result is longer than {LINE_BYTES >> 20} MiB."
    error = b'{"code":-32603,"message":"%s"}' % what.encode()
    return b'{"jsonrpc":"2.0","id":%s,"error":%s}\n' % (found[1], error)


def _skip_line(source: IO[bytes]) -> bool:
    """Read to the end of a line. False: it has none."""
    for _ in range(SKIPPED):
        piece = source.readline(LINE_BYTES)
        if not piece or piece.endswith(b"\n"):
            return bool(piece)
    return False


def is_message(line: bytes) -> bool:
    """Return whether a line is a JSON object, as each message of MCP is."""
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def say(text: str) -> None:
    """Write to this process's standard error, all at once."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _die_with_relay() -> None:
    """Run in the program's process before it starts (Linux): die with the relay."""
    import ctypes  # noqa: PLC0415 - only here, only on Linux

    pr_set_pdeathsig = 1  # <linux/prctl.h>
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of what the program leaves behind (Linux), to find it at the end."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only on Linux

        pr_set_child_subreaper = 36  # <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def kill_descendants() -> None:
    """Kill all that descends from this process (Linux); elsewhere its process group is killed."""
    for _ in range(20):  # one that dies leaves its own children to this process
        parents = {pid: parent for pid, parent in _processes() if parent}
        mine = {os.getpid()}
        while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
            mine |= more
        left = mine - {os.getpid()}
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _processes() -> list[tuple[int, int]]:
    """Return each process with its parent (Linux); of a dead one, no parent."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat") if sys.platform == "linux" else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # pid (name) state ppid: a name may have brackets and spaces in it (proc(5)).
            state, parent = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
            found.append((int(path.parent.name), 0 if state == "Z" else int(parent)))
    return found


def main(argv: list[str]) -> NoReturn:
    """Run the relay until the program or the chat ends."""
    parser = argparse.ArgumentParser(prog="relay")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("program", nargs="+")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the chat
    adopt_orphans()
    try:
        program = ServerProgram(args.program, ServerLog(args.log))
    except OSError as error:
        say(f"{args.program[0]} cannot be started: {error.strerror or error}.\n\n")
        os._exit(127)
    end = threading.Thread(target=program.end, args=("It was stopped.",), daemon=True)

    def stopped(*_: object) -> None:
        if end.ident is None:
            end.start()

    signal.signal(signal.SIGTERM, stopped)
    program.end(program.pass_messages_on())


if __name__ == "__main__":
    main(sys.argv[1:])
