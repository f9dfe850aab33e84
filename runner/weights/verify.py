"""Verify installed files, each by its sha256 and all at once; repair damaged blocks in place.

A file whose block checksums are known is repaired in the same pass, block by block. Of any other
file it is only known that it is damaged.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runner.base.disk import explained
from runner.base.errors import BadFile
from runner.base.progress import OnProgress, Phase, Progress
from runner.base.work import Stopped, run_all
from runner.catalog.model import ModelFile
from runner.weights import block_checksums, verified
from runner.weights.block_checksums import BLOCK_BYTES
from runner.weights.verified import Verdict

BlockDownload = Callable[[ModelFile, int, int], bytes]  # the right bytes, from and up to


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result for one file. `intact`: whether it is what it should be now.

    `wrong`: where damaged blocks begin, in bytes; without repair the first one only, and none
    where no block checksums are known. `downloaded`: bytes that repaired it. `error`: what kept it
    from being read or repaired.
    """

    file: ModelFile
    path: Path
    intact: bool
    wrong: tuple[int, ...] = ()
    downloaded: int = 0
    error: Exception | None = None


def verify_files(
    found: Sequence[tuple[ModelFile, Path]],
    report: OnProgress,
    download: BlockDownload | None = None,
    *,
    keep_errors: bool = False,
) -> list[FileCheck]:
    """Read some files and return which are intact; with `download`, repair those that are not.

    Each has its own thread: a sha256 is sequential, and one core seldom keeps up with a disk. The
    error of one file does not stop the others. Raises the first of them in the end, but with
    `keep_errors`: Refused where a disk cannot be read, BadFile where the hub's bytes are wrong,
    too, and what `download` raises.
    """
    jobs = [_Verification(file, path, download) for file, path in found]
    whole = sum(file.bytes for file, _ in found)

    def look() -> None:
        repairs = any(job.repairing for job in jobs)
        phase = Phase.REPAIRING if repairs else Phase.VERIFYING
        report(Progress(phase, sum(job.done for job in jobs), whole))

    run_all(jobs, look)
    look()
    for job in jobs:
        if job.result.error is not None and not keep_errors:
            raise job.result.error
    return [job.result for job in jobs]


class _Verification:
    """The job of one file. `done`: bytes read."""

    def __init__(self, file: ModelFile, path: Path, download: BlockDownload | None) -> None:
        self.done = 0
        self.repairing = False
        self.result = FileCheck(file, path, intact=False)
        self._file, self._path, self._download = file, path, download
        self._stop = threading.Event()
        self._sha256 = file.sha256 or ""
        self._known = block_checksums.known(self._sha256, file.bytes)

    def run(self, stop: threading.Event) -> None:
        """Verify it; all that goes wrong is in the result."""
        self._stop = stop
        try:
            with explained(self._path.parent):
                self.result = self._verify()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - the caller decides what one file's error ends
            self.result = FileCheck(self._file, self._path, intact=False, error=error)
        self.repairing = False

    def abort(self) -> None:
        """Nothing: a read from a disk cannot be ended from outside."""

    def left_behind(self) -> None:
        """Nothing: the file is not written to once `run` has been stopped."""

    def _verify(self) -> FileCheck:
        file, path = self._file, self._path
        with path.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())  # a change while it is read voids the verdict
            made, wrong, downloaded = self._read(stream)
            if downloaded:
                before = os.fstat(stream.fileno())
        intact = made[-1:] == [bytes.fromhex(self._sha256)]
        if intact and not self._known:
            block_checksums.keep(self._sha256, tuple(made))
        verified.remember(path, Verdict(self._sha256, intact), before)
        return FileCheck(file, path, intact, tuple(wrong), downloaded)

    def _read(self, stream: BinaryIO) -> tuple[list[bytes], list[int], int]:
        """Return the file's block checksums, where it was wrong, and the bytes downloaded."""
        sha256 = hashlib.sha256()
        buffer = bytearray(BLOCK_BYTES)
        made: list[bytes] = []
        wrong: list[int] = []
        downloaded = 0
        for number in range(block_checksums.count(self._file.bytes)):
            start, end = block_checksums.span(number, self._file.bytes)
            before = sha256.copy()
            sha256.update(self._read_block(stream, memoryview(buffer)[: end - start]))
            if self._known and sha256.digest() != self._known[number]:
                wrong.append(start)
                if self._download is None:
                    break  # a checksum covers all before it, so what follows cannot be judged
                sha256 = before
                downloaded += self._repair(stream, sha256, number, self._download)
            made.append(sha256.digest())
            self.done = end
        return made, wrong, downloaded

    def _repair(
        self, stream: BinaryIO, sha256: "hashlib._Hash", number: int, download: BlockDownload
    ) -> int:
        """Download a block, write it to its place, and return how long it is."""
        self.repairing = True
        start, end = block_checksums.span(number, self._file.bytes)
        self._remember_damage(stream)
        data = download(self._file, start, end)
        sha256.update(data)
        if sha256.digest() != self._known[number]:
            raise _cannot_repair(self._file, start)
        if self._stop.is_set():
            raise Stopped
        with self._path.open("r+b") as file:  # an intact file needs no permission to write
            file.seek(start)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._remember_damage(stream)
        self.repairing = False
        return len(data)

    def _remember_damage(self, stream: BinaryIO) -> None:
        """Remember that the file is damaged: the repair may not be completed."""
        verdict = Verdict(self._sha256, intact=False)
        verified.remember(self._path, verdict, os.fstat(stream.fileno()))

    def _read_block(self, stream: BinaryIO, room: memoryview) -> memoryview:
        """Fill `room` from the file; a truncated file fills less, and fails verification."""
        filled = 0
        while filled < len(room):
            if self._stop.is_set():
                raise Stopped
            count = stream.readinto(room[filled:])  # type: ignore[attr-defined]
            if not count:
                break
            filled += count
        return room[:filled]


def _cannot_repair(file: ModelFile, start: int) -> BadFile:
    return BadFile(
        f"{file.name} cannot be repaired.",
        why=f"The hub's bytes from {start:,} on differ from those that were verified before.",
        next="Check HF_ENDPOINT, if it names a mirror; otherwise download the whole file again: "
        "steprun models rm QUANT, then steprun models pull QUANT",
    )
