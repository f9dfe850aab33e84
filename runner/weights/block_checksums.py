"""Checksums of each 8 MiB block of a file, so that damage costs a block and not 46 GB.

The checksum of a block is the sha256 of everything up to its end. Such checksums cost nothing
beside the sha256 of the whole file, and can be trusted once that is verified: they locate damage
within 8 MiB, which can be downloaded again. They are stored under the sha256 of the whole file, so
that they serve any copy of it.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from runner.base import files
from runner.base.paths import cache_dir

BLOCK_BYTES: Final = 8 << 20  # one wrong byte must not make a repair download more than 16 MB
_DIGEST: Final = 32  # bytes of a sha256
_READ_BYTES: Final = 1 << 20


def count(size: int) -> int:
    """Return how many blocks a file of `size` bytes has; the last may be shorter."""
    return -(-size // BLOCK_BYTES)


def span(number: int, size: int) -> tuple[int, int]:
    """Return where a block of a file of `size` bytes begins, and where it ends."""
    return number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, size)


class BlockHasher:
    """The sha256 of a file and its block checksums, made while it is downloaded.

    A `journal`, if any, gets each checksum at once: what a power cut did to a partial file is found
    by it when the download resumes. `rebooted`: whether the machine has started since the partial
    file was written.
    """

    def __init__(self, journal: Path | None = None, *, rebooted: bool = False) -> None:
        self.checksums: list[bytes] = []
        self._journal = journal
        self._rebooted = rebooted
        self._unverified_from: int | None = None
        self._sha256 = hashlib.sha256()
        self._in_block = 0

    def resume(self, part: BinaryIO, on_read: Callable[[int], None]) -> int:
        """Take in what an earlier run left; return how many bytes of it can be kept.

        After a reboot nothing vouches for what follows the last checksum. Without one it was in the
        system's hands when steprun was killed, and is complete. What cannot be kept is cut off, and
        that before the journal forgets it. `on_read` hears how many bytes have been read.
        """
        found = self._journalled()
        journalled = found or []
        good = 0
        while True:
            before = self._sha256.copy()
            length = self._read_block(part)
            number = len(self.checksums)
            if number < len(journalled):
                damaged = self._sha256.digest() != journalled[number]
            else:
                damaged = self._rebooted and found is not None
            if not length or damaged:
                self._sha256 = before
                break
            self._in_block += length
            good += length
            self._end_block()
            on_read(good)
        part.truncate(good)
        vouched = min(len(journalled), len(self.checksums))
        self._unverified_from = vouched if good > vouched * BLOCK_BYTES else None
        if self._journal is not None:
            files.write_private(self._journal, b"".join(self.checksums))
        return good

    def update(self, data: bytes) -> None:
        """Take in the bytes that follow."""
        before = len(self.checksums)
        view = memoryview(data)
        while view:
            now = view[: BLOCK_BYTES - self._in_block]
            self._sha256.update(now)
            self._in_block += len(now)
            view = view[len(now) :]
            self._end_block()
        if self._journal is not None and len(self.checksums) > before:
            with self._journal.open("ab") as file:
                file.write(b"".join(self.checksums[before:]))

    def back_out(self, part: Path) -> bool:
        """Cut a partial file with a wrong sha256 back to what the journal vouches for.

        Nothing vouches for the end of what an earlier run left: a disk that was pulled out may have
        lost it. Returns False where there was no such end, so that all of the file is suspect.
        """
        if self._unverified_from is None or self._journal is None:
            return False
        os.truncate(part, self._unverified_from * BLOCK_BYTES)
        files.write_private(self._journal, b"".join(self.checksums[: self._unverified_from]))
        return True

    def hexdigest(self) -> str:
        """Return the sha256 of everything so far."""
        return self._sha256.hexdigest()

    def all_checksums(self) -> tuple[bytes, ...]:
        """Return the checksums of all blocks, the last of which may be shorter."""
        last = (self._sha256.digest(),) if self._in_block else ()
        return (*self.checksums, *last)

    def _end_block(self) -> None:
        if self._in_block == BLOCK_BYTES:
            self.checksums.append(self._sha256.copy().digest())
            self._in_block = 0

    def _read_block(self, part: BinaryIO) -> int:
        done = 0
        while done < BLOCK_BYTES and (data := part.read(min(_READ_BYTES, BLOCK_BYTES - done))):
            self._sha256.update(data)
            done += len(data)
        return done

    def _journalled(self) -> list[bytes] | None:
        """Return the checksums in the journal; None where it is missing (a cleaned cache)."""
        try:
            return _split(self._journal.read_bytes()) if self._journal is not None else None
        except FileNotFoundError:
            return None


def keep(sha256: str, checksums: tuple[bytes, ...]) -> None:
    """Keep the block checksums of a file that is verified to have this sha256."""
    data = b"".join(checksums)
    files.write_private(_path(sha256), data + hashlib.sha256(data).digest())


def known(sha256: str, size: int) -> tuple[bytes, ...]:
    """Return a file's block checksums; none where no copy of it has been verified yet."""
    try:
        data = _path(sha256).read_bytes()
    except OSError:
        return ()
    checksums, seal = data[:-_DIGEST], data[-_DIGEST:]
    if len(checksums) != count(size) * _DIGEST or hashlib.sha256(checksums).digest() != seal:
        return ()
    if checksums[-_DIGEST:].hex() != sha256:  # the last one covers the whole file
        return ()
    return tuple(_split(checksums))


def journal(sha256: str) -> Path:
    """Return where the block checksums of a file are noted during its download."""
    return cache_dir() / "marks" / f"{sha256}.part"


def forget(sha256: str) -> None:
    """Drop all block checksums of a file."""
    _path(sha256).unlink(missing_ok=True)
    journal(sha256).unlink(missing_ok=True)


def _path(sha256: str) -> Path:
    return cache_dir() / "marks" / sha256


def _split(data: bytes) -> list[bytes]:
    """Return the whole checksums in some bytes; a power cut may have cut the last one short."""
    return [data[at : at + _DIGEST] for at in range(0, len(data) - _DIGEST + 1, _DIGEST)]
