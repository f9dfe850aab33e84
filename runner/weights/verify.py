"""Proving files that are here: all at once, each by its sha256; and mending what is wrong in place.

A file whose marks are known is mended piece by piece in the same reading. Of any other it is only
known that it is wrong.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from runner.base.disk import explained
from runner.base.errors import BadFile
from runner.base.progress import OnProgress, Phase, Progress
from runner.catalog.model import ModelFile
from runner.weights import block_checksums, verified
from runner.weights.block_checksums import PIECE_BYTES
from runner.weights.verified import Verdict

_LOOK_S: Final = 0.1
_LEAVE_S: Final = 5.0

Mend = Callable[[ModelFile, int, int], bytes]  # the right bytes of a file, from and up to


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found. `sound`: whether the file is now what it should be.

    `wrong`: where pieces that were wrong begin, in bytes; without mending, the first alone, and
    none where no marks are known. `fetched`: bytes that mended it.
    """

    file: ModelFile
    path: Path
    sound: bool
    wrong: tuple[int, ...] = ()
    fetched: int = 0


class _Stopped(Exception):  # noqa: N818 - not a fault
    pass


def prove(
    found: Sequence[tuple[ModelFile, Path]], tell: OnProgress, mend: Mend | None = None
) -> list[Proof]:
    """Read some files and tell which are sound; with `mend`, make them so where that can be done.

    Each has a thread of its own: a sha256 is made in order, and one core seldom keeps up with a
    disk. Raises Refused where a disk cannot be read, and what `mend` raises.
    """
    tasks = [_Task(file, path, mend) for file, path in found]
    whole = sum(file.bytes for file, _ in found)
    try:
        for task in tasks:
            task.start()
        while running := [task for task in tasks if task.is_alive()]:
            running[0].join(_LOOK_S)
            repairs = any(task.phase is Phase.REPAIRING for task in running)
            phase = Phase.REPAIRING if repairs else Phase.VERIFYING
            tell(Progress(phase, sum(task.done for task in tasks), whole))
    finally:
        for task in tasks:
            task.stop.set()
        ends = time.monotonic() + _LEAVE_S
        for task in tasks:
            if task.ident is not None:
                task.join(max(0.0, ends - time.monotonic()))
    for task in tasks:
        if task.error is not None:
            raise task.error
    return [task.proof for task in tasks if task.proof is not None]


class _Task(threading.Thread):
    """One file under proof. `done`: bytes read."""

    def __init__(self, file: ModelFile, path: Path, mend: Mend | None) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self.phase = Phase.VERIFYING
        self.proof: Proof | None = None
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._file, self._path, self._mend = file, path, mend
        self._known = block_checksums.known(file.sha256 or "", file.bytes)

    def run(self) -> None:
        """Do it, and keep what goes wrong in `error`."""
        try:
            with explained(self._path.parent):
                self.proof = self._proof()
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self.error = error

    def _proof(self) -> Proof:
        file, path = self._file, self._path
        with path.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())  # a change while it is read ends the verdict
            made, wrong, fetched = self._read(stream)
            if fetched:
                before = os.fstat(stream.fileno())
        sound = made[-1:] == [bytes.fromhex(file.sha256 or "")]
        if sound and not self._known:
            block_checksums.keep(file.sha256 or "", tuple(made))
        verified.remember(path, Verdict(file.sha256 or "", sound), before)
        return Proof(file, path, sound, tuple(wrong), fetched)

    def _read(self, stream: BinaryIO) -> tuple[list[bytes], list[int], int]:
        """Return the marks that the file has, where it was wrong, and how much mended it."""
        sha256 = hashlib.sha256()
        buffer = bytearray(PIECE_BYTES)
        made: list[bytes] = []
        wrong: list[int] = []
        fetched = 0
        for number in range(block_checksums.count(self._file.bytes)):
            start, end = block_checksums.span(number, self._file.bytes)
            before = sha256.copy()
            sha256.update(self._piece(stream, memoryview(buffer)[: end - start]))
            mark = sha256.digest()
            if self._known and mark != self._known[number]:
                wrong.append(start)
                if self._mend is None:
                    break  # a mark is of all before it, so what follows cannot be judged
                self._condemn(stream)
                self.phase = Phase.REPAIRING
                data = self._mend(self._file, start, end)
                sha256 = before
                sha256.update(data)
                mark = sha256.digest()
                if mark != self._known[number]:
                    raise _not_it(self._file, start)
                _write(self._path, start, data)
                self._condemn(stream)
                fetched += len(data)
                self.phase = Phase.VERIFYING
            made.append(mark)
            self.done = end
        return made, wrong, fetched

    def _condemn(self, stream: BinaryIO) -> None:
        """Remember that it is wrong: a mending may not come to its end."""
        wrong = Verdict(self._file.sha256 or "", sound=False)
        verified.remember(self._path, wrong, os.fstat(stream.fileno()))

    def _piece(self, stream: BinaryIO, room: memoryview) -> memoryview:
        """Fill `room` from the file; what a cut file lacks stays as it was, and fails the proof."""
        filled = 0
        while filled < len(room):
            if self.stop.is_set():
                raise _Stopped
            count = stream.readinto(room[filled:])  # type: ignore[attr-defined]
            if not count:
                break
            filled += count
        return room[:filled]


def _write(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:  # what is sound needs no leave to write
        file.seek(start)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _not_it(file: ModelFile, start: int) -> BadFile:
    return BadFile(
        f"{file.name} cannot be mended",
        why=f"The hub's bytes from {start:,} on are not those that were proven here before.",
        next="Check HF_ENDPOINT, if it names a mirror; else: steprun models rm, then pull",
    )
