"""What a file is proven by: the published sha256 of all of it, and marks of our own on the way.

A mark is the sha256 of everything up to the end of a piece. It costs nothing beside the sha256 of
the whole, and once that is proven it is as good as it: a check that goes wrong is known to do so
within 8 MiB, which can be fetched again, and not 46 GB. Marks are kept by content, under the
sha256 of the whole, wherever a copy may lie.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from runner.base import files
from runner.base.paths import cache_dir

PIECE_BYTES: Final = 8 << 20  # one wrong byte must not make a repair fetch more than 16 MB
_MARK: Final = 32
_READ: Final = 1 << 20


def count(size: int) -> int:
    """Return how many pieces a file of `size` bytes has; the last may be shorter."""
    return -(-size // PIECE_BYTES)


def span(number: int, size: int) -> tuple[int, int]:
    """Return where a piece of a file of `size` bytes begins, and where it ends."""
    return number * PIECE_BYTES, min((number + 1) * PIECE_BYTES, size)


class Marker:
    """The sha256 of a file, and its marks, made while the bytes come.

    A `journal`, if any, gets each mark at once: what a power cut did to a part is found by it when
    the download goes on. `rebooted`: whether the machine has started since the part was written.
    """

    def __init__(self, journal: Path | None = None, *, rebooted: bool = False) -> None:
        self.marks: list[bytes] = []
        self._journal = journal
        self._rebooted = rebooted
        self._loose: int | None = None
        self._sha256 = hashlib.sha256()
        self._in_piece = 0

    def resume(self, part: BinaryIO, told: Callable[[int], None]) -> int:
        """Take in what an earlier run left; return how many bytes of it are as they came.

        After a reboot nothing vouches for what lies behind the last mark. Without one it was in the
        system's hands when steprun was killed, and is all there. What is not good is cut off, and
        that before the journal forgets it.
        """
        found = self._noted()
        noted = found or []
        good = 0
        while True:
            before = self._sha256.copy()
            came = self._read_piece(part)
            number = len(self.marks)
            if number < len(noted):
                damaged = self._sha256.digest() != noted[number]
            else:
                damaged = self._rebooted and found is not None
            if not came or damaged:
                self._sha256 = before
                break
            self._in_piece += came
            good += came
            self._end_piece()
            told(good)
        part.truncate(good)
        vouched = min(len(noted), len(self.marks))
        self._loose = vouched if good > vouched * PIECE_BYTES else None
        if self._journal is not None:
            files.write_private(self._journal, b"".join(self.marks))
        return good

    def update(self, data: bytes) -> None:
        """Take in the bytes that follow."""
        before = len(self.marks)
        view = memoryview(data)
        while view:
            now = view[: PIECE_BYTES - self._in_piece]
            self._sha256.update(now)
            self._in_piece += len(now)
            view = view[len(now) :]
            self._end_piece()
        if self._journal is not None and len(self.marks) > before:
            with self._journal.open("ab") as file:
                file.write(b"".join(self.marks[before:]))

    def back_out(self, part: Path) -> bool:
        """Cut a part that is not what it should be to what is known to be as it came.

        The end of what an earlier run left is vouched for by nothing: a disk that was pulled out
        may have lost it. Returns False where there was no such end, and all is at fault.
        """
        if self._loose is None or self._journal is None:
            return False
        os.truncate(part, self._loose * PIECE_BYTES)
        files.write_private(self._journal, b"".join(self.marks[: self._loose]))
        return True

    def hexdigest(self) -> str:
        """Return the sha256 of all that came."""
        return self._sha256.hexdigest()

    def all_marks(self) -> tuple[bytes, ...]:
        """Return the marks of all pieces; the last piece, which may be shorter, has one too."""
        last = (self._sha256.digest(),) if self._in_piece else ()
        return (*self.marks, *last)

    def _end_piece(self) -> None:
        if self._in_piece == PIECE_BYTES:
            self.marks.append(self._sha256.copy().digest())
            self._in_piece = 0

    def _read_piece(self, part: BinaryIO) -> int:
        came = 0
        while came < PIECE_BYTES and (data := part.read(min(_READ, PIECE_BYTES - came))):
            self._sha256.update(data)
            came += len(data)
        return came

    def _noted(self) -> list[bytes] | None:
        """Return the marks in the journal; None where there is none, as after a cleaned cache."""
        try:
            data = self._journal.read_bytes() if self._journal is not None else None
        except FileNotFoundError:
            data = None
        if data is None:
            return None
        return [data[at : at + _MARK] for at in range(0, len(data) - _MARK + 1, _MARK)]


def keep(sha256: str, marks: tuple[bytes, ...]) -> None:
    """Keep the marks of a file that is proven to have this sha256."""
    data = b"".join(marks)
    files.write_private(_path(sha256), data + hashlib.sha256(data).digest())


def known(sha256: str, size: int) -> tuple[bytes, ...]:
    """Return a file's marks; none where no copy of it has been proven here yet."""
    try:
        data = _path(sha256).read_bytes()
    except OSError:
        return ()
    marks, seal = data[:-_MARK], data[-_MARK:]
    if len(marks) != count(size) * _MARK or hashlib.sha256(marks).digest() != seal:
        return ()
    if marks[-_MARK:].hex() != sha256:  # the last one is the whole
        return ()
    return tuple(marks[at : at + _MARK] for at in range(0, len(marks), _MARK))


def journal(sha256: str) -> Path:
    """Return where the marks of a file are noted while it is on its way."""
    return cache_dir() / "marks" / f"{sha256}.part"


def forget(sha256: str) -> None:
    """Drop all marks of a file."""
    _path(sha256).unlink(missing_ok=True)
    journal(sha256).unlink(missing_ok=True)


def _path(sha256: str) -> Path:
    return cache_dir() / "marks" / sha256
