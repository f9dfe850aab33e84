"""The process that loads and changes pictures, as the chat sees it. All of it blocks: use threads.

A picture whose decoder crashes or hangs costs that process, and the chat says so.
"""

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any, Final

from runner.base.errors import BadFile
from runner.chat.images import workshop
from runner.chat.images.converting import HEAD
from runner.chat.images.load import SMALLER, read_file
from runner.chat.wire import Picture

MODULE: Final = "runner.chat.images.workshop"
PATIENCE_S: Final = 30.0  # 24 megapixels of PNG took 4 s on two busy cores
IDLE_S: Final = 60.0  # its process takes some 40 MB, and 0.2 s to start
RESULT_BYTES: Final = 128 << 20  # 9 megapixels, the most there are, as a PNG that does not pack


class Workshop:
    """Does one job at a time, in a process that starts with the first one."""

    def __init__(
        self,
        program: tuple[str, ...] = (sys.executable, "-P", "-m", MODULE),
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._program = program
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None
        self._lock = threading.Lock()
        self.started = 0  # processes, so far
        atexit.register(self.close)

    def load(self, path: Path) -> Picture:
        """Load one image file. Raises `BadFile` with what is wrong with it."""
        data, name = read_file(path)
        return self.load_bytes(data, name)

    def load_bytes(self, data: bytes, name: str) -> Picture:
        """Load the bytes of an image file. Raises `BadFile` with what is wrong with them."""
        return self._picture(workshop.LOAD, {"name": name}, data, name)

    def scaled(self, picture: Picture, width: int, height: int) -> Picture:
        """Return a picture at another size, in pixels. Raises `BadFile`."""
        return self._change(workshop.SCALE, picture, width=width, height=height)

    def cropped(self, picture: Picture, box: tuple[int, int, int, int]) -> Picture:
        """Return what is inside left, top, right and bottom, in pixels. Raises `BadFile`."""
        return self._change(workshop.CROP, picture, box=box)

    def pixels(self, picture: Picture, width: int, height: int) -> bytes:
        """Return a thumbnail of exactly that size: three bytes a pixel. Raises `BadFile`."""
        job = {"picture": workshop.described(picture), "width": width, "height": height}
        _, data = self._do(workshop.THUMBNAIL, job, picture.data, picture.name)
        if len(data) != 3 * width * height:
            raise _failed(picture.name)
        return data

    def small_png(self, picture: Picture, width: int, height: int) -> bytes:
        """Return a picture at that size in 256 colours, as a PNG. Raises `BadFile`."""
        job = {"picture": workshop.described(picture), "width": width, "height": height}
        return self._do(workshop.SMALL_PNG, job, picture.data, picture.name)[1]

    def peak_bytes(self) -> int:
        """Return the most memory that the process has taken so far; 0 where nobody tells."""
        process = self._process
        with suppress(OSError, IndexError, ValueError):
            if process is not None:
                status = Path(f"/proc/{process.pid}/status").read_text("ascii")
                return int(status.split("VmHWM:")[1].split()[0]) << 10
        return 0

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _change(self, letter: bytes, picture: Picture, **job: Any) -> Picture:
        about = {"picture": workshop.described(picture), **job}
        return self._picture(letter, about, picture.data, picture.name)

    def _picture(self, letter: bytes, job: Mapping[str, Any], data: bytes, name: str) -> Picture:
        about, made = self._do(letter, job, data, name)
        try:
            picture = Picture(data=made or data, **about)
        except TypeError as error:
            raise _failed(name) from error
        hash(picture.data)  # known from now on: of 64 MB it would take the window 40 ms
        return picture

    def _do(
        self, letter: bytes, job: Mapping[str, Any], data: bytes, name: str
    ) -> tuple[dict[str, Any], bytes]:
        late = threading.Event()
        with self._lock:
            try:
                kind, about, made = self._ask(letter, workshop.packed(job, b""), data, late)
            except (OSError, EOFError, ValueError) as error:
                self._end()
                raise (_slow(name, self._patience_s) if late.is_set() else _failed(name)) from error
            finally:
                self._end_when_idle()
        if kind == b"=":
            return about, made
        words = {key: str(about.get(key) or "") for key in ("what", "why", "next")}
        raise BadFile(words["what"], why=words["why"], next=words["next"])

    def _ask(
        self, letter: bytes, job: bytes, data: bytes, late: threading.Event
    ) -> tuple[bytes, dict[str, Any], bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = _start(self._program)
            self.started += 1
        process = self._process

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._patience_s, stop)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
            process.stdin.write(HEAD.pack(letter, len(job) + len(data)) + job)
            process.stdin.write(data)  # apart: a copy would keep Python's lock
            process.stdin.flush()
            kind, length = HEAD.unpack(_exactly(process.stdout, HEAD.size))
            if length > RESULT_BYTES:
                raise EOFError
            return kind, *workshop.unpacked(_exactly(process.stdout, length))
        finally:
            timer.cancel()

    def _end_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = threading.Timer(IDLE_S, self.close)
        self._idle.daemon = True
        self._idle.start()

    def _end(self) -> None:
        process, self._process = self._process, None
        if self._idle is not None:
            self._idle.cancel()
        if process is not None:
            process.kill()
            with suppress(OSError):
                process.communicate()


def _start(program: tuple[str, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        program,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        # A signal to the terminal's programs is for the chat.
        start_new_session=os.name == "posix",
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _exactly(source: IO[bytes], length: int) -> bytes:
    data = source.read(length)
    if len(data) != length:
        raise EOFError
    return data


def _failed(name: str) -> BadFile:
    return BadFile(
        f"{name} cannot be used as an image.",
        why="Its decoder failed: the file is damaged, or takes too much memory.",
        next="Save it again as a PNG.",
    )


def _slow(name: str, seconds: float) -> BadFile:
    return BadFile(
        f"{name} cannot be used as an image.",
        why=f"It takes longer than {seconds:.0f} s to decode.",
        next=SMALLER,
    )
