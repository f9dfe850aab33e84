"""Files downloaded to their places: resumed, bounded, verified; whole or not at all.

What has arrived lies beside the place, in a part that a later call resumes. Each file has a thread
of its own that blocks, which costs half of what asyncio does; the caller's thread watches them
all, shows their progress, and ends what has become too slow.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, Protocol, TypeVar

from runner.base.disk import check_room
from runner.base.errors import BadFile, SteprunError
from runner.base.progress import OnProgress, Phase, Progress
from runner.base.work import LEAVE_S, Stopped, run_all
from runner.net.http import NETWORK, ErrorAdvice, Mismatch, errors_for
from runner.net.retry import Deadline, Patience, Transient, aborted_after, retry
from runner.net.stream import Stream

MOST_BYTES: Final = 8 << 30  # of a file whose size nobody promised; the largest archive is 0.6 GB
_CHUNK: Final = 1 << 20
_STUCK: Final = 10  # times the patience for a head; not every request can be ended from outside
_UNRESOLVED: Final = 6  # tries, with pauses of half a minute in all
_MOST_SKIPPED: Final = 64 << 20  # bytes that nobody requested, on the way to a range


class Digest(Protocol):
    """What is made of a file's bytes while they arrive."""

    def resume(self, part: BinaryIO, checked: Callable[[int], None]) -> int:
        """Take in what an earlier run left; return how many bytes of it are good."""
        ...

    def update(self, data: bytes) -> None:
        """Take in the bytes that follow."""
        ...

    def hexdigest(self) -> str:
        """Return the sha256 of the whole file."""
        ...


D = TypeVar("D", bound=Digest)


class Source(Protocol):
    """Where a file comes from. `name`: what people are shown. `advice`: for its failures."""

    name: str
    advice: ErrorAdvice

    def stream(self, start: int, etag: str, end: int | None = None) -> Stream:
        """Return its bytes from `start` on, of the version `etag` if that is not empty."""
        ...


_OTHERS: Final = "Take another version, or another mirror."


def advice(name: str, *, denied: str = _OTHERS, missing: str = _OTHERS) -> ErrorAdvice:
    """Return what to say of a file that cannot be downloaded, and what to do next."""
    return ErrorAdvice(
        what=f"{name} was not downloaded.",
        odd=f"{name} is not what was published.",
        denied=denied,
        missing=missing,
        mismatch="Try again; if it happens again, contact the mirror's operator.",
        redirect="Download the file yourself, check it, and give its path.",
        otherwise=f"{NETWORK}, and try again: the download resumes where it stopped.",
    )


class Download(Generic[D]):
    """One file being downloaded: what has arrived is in `part`, and in its digest.

    `make`: returns a fresh digest. `finish`: what to do with the part once it is whole, given its
    digest; called in the file's own thread.
    """

    def __init__(
        self,
        source: Source,
        part: Path,
        *,
        size: int | None,
        make: Callable[[], D],
        finish: Callable[[D], None],
        patience: Patience,
    ) -> None:
        self.source, self.part, self.size, self.patience = source, part, size, patience
        self.have = 0
        self.received = 0  # bytes from the network, in this run
        self.phase: Phase | None = Phase.CHECKING  # None once it is done
        self.waits_for = ""
        self.attempt = 0  # each stage of each try has a number of its own
        self.opening = False
        self._left = False  # its thread did not end in time: the part may be another's by now
        self._make, self._finish = make, finish
        self._digest = make()
        self._etag = ""
        self._stream: Stream | None = None
        self._interrupted = ""

    def run(self, stop: threading.Event) -> None:
        """Download it. Raises SteprunError, or Stopped; what has arrived is kept."""
        with errors_for(self.source.advice):
            self._run(stop)

    def _run(self, stop: threading.Event) -> None:
        self.part.open("ab").close()  # which leaves the time of an older one as it is
        with self.part.open("r+b", buffering=0) as file:
            good = self._digest.resume(file, partial(self._checked, stop))
            if self.size is not None and good > self.size:
                good = self._start_over(file)
            self.have = good
            file.seek(good)
            try:
                self._try(file, stop)
            finally:
                if not self._left:
                    file.truncate(self.have)
                    os.fsync(file.fileno())
        self.phase = None
        self._finish(self._digest)

    def abort(self) -> None:
        """End what is under way, from another thread."""
        stream = self._stream
        if stream is not None:
            stream.abort()

    def interrupt(self, why: str) -> None:
        """End this try, from another thread; `why` is what people are shown."""
        self._interrupted = why
        self.abort()

    def left_behind(self) -> None:
        """Leave the part alone from now on."""
        self._left = True

    def _checked(self, stop: threading.Event, done: int) -> None:
        self.have = done
        if stop.is_set():
            raise Stopped

    def _try(self, file: BinaryIO, stop: threading.Event) -> None:
        tried, most = 0, self.have
        while self.have != self.size:
            try:
                self._once(file, stop)
            except Transient as error:
                why, self._interrupted = self._interrupted or str(error), ""
                if stop.is_set():
                    raise Stopped from error
                if error.restart:
                    self._start_over(file)
                tried = 1 if self.have - most >= _CHUNK else tried + 1
                most = max(most, self.have)  # so that a server cannot make it start over for ever
                patience = self.patience
                # A name that is lost on the way is a network that is down; one that never was
                # known may be wrong, or there is no network at all.
                in_vain = error.unresolved and not self.received and tried >= _UNRESOLVED
                if in_vain or tried >= patience.tries or error.pause_s > patience.wait_s:
                    raise self.given_up(why, error.pause_s) from error
                self.phase, self.waits_for = Phase.WAITING, why.rstrip(".")
                self.attempt += 1
                if stop.wait(max(error.pause_s, patience.pause(tried))):
                    raise Stopped from error

    def _once(self, file: BinaryIO, stop: threading.Event) -> None:
        self.attempt += 1
        self.opening = True
        try:
            self._stream = self.source.stream(self.have, self._etag)
            self._stream.open()
            self.opening, self._interrupted = False, ""
            self._receive(file, self._stream, stop)
        finally:
            self.opening = False
            if self._stream is not None:
                self._stream.close()
                self._stream = None

    def _receive(self, file: BinaryIO, stream: Stream, stop: threading.Event) -> None:
        self._etag = stream.etag
        size = self.size if self.size is not None else stream.size
        if size is None or (self.size is None and size > MOST_BYTES):
            raise Mismatch("Its server does not say how long it is, or it is too long.")
        self.size = size
        check_room(self.part.parent, size - self.have)
        self.phase = Phase.DOWNLOADING
        self.attempt += 1
        for data in stream:
            if stop.is_set():
                raise Stopped
            self._take(file, data)
        if self.have < size:
            raise Transient("It sends less than was requested.")

    def _take(self, file: BinaryIO, data: bytes) -> None:
        if self.have + len(data) > (self.size or 0):
            raise Mismatch(f"It sends more than the {self.size:,} bytes that it should have.")
        # Zeros become a hole, which takes no room: files of them are how 105 GB are rehearsed.
        if data and not data[-1] and not data[0] and data == bytes(len(data)):
            file.seek(len(data), os.SEEK_CUR)
        else:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        self._digest.update(data)
        self.have += len(data)
        self.received += len(data)

    def moved(self) -> int:
        """Return how many bytes arrived, those included that had arrived before."""
        stream = self._stream
        return self.received + (stream.skipped if stream is not None else 0)

    def given_up(self, why: str, pause_s: float = 0) -> SteprunError:
        """Return the error of a server that has been given all the time it gets."""
        of = f" of {self.size:,}" if self.size else ""
        why = f"{Transient(why, pause_s).why} {self.have:,}{of} bytes have arrived."
        return self.source.advice.error(SteprunError, why)

    def _start_over(self, file: BinaryIO) -> int:
        file.seek(0)
        file.truncate()
        self.have = 0
        self._digest = self._make()
        return 0


class _Watch:
    """Ends the requests of one file whose server takes longer than its `Patience` allows."""

    def __init__(self, download: Download[Any]) -> None:
        self._download = download
        self._stage = -1
        self._since = 0.0
        self._then = 0

    def look(self) -> None:
        download, patience = self._download, self._download.patience
        now = patience.clock()
        if download.attempt != self._stage:
            self._stage, self._since, self._then = download.attempt, now, download.moved()
        elif download.opening and now - self._since > patience.head_s:
            why = f"No answer within {patience.head_s:g} seconds."
            download.interrupt(why)
            if now - self._since > _STUCK * patience.head_s:
                raise download.given_up(why)
        elif download.phase is Phase.DOWNLOADING and now - self._since > patience.slow_s:
            if download.moved() - self._then < patience.slow_bytes:
                download.interrupt("It sends almost nothing.")
            self._since, self._then = now, download.moved()


def transfer_all(downloads: Sequence[Download[Any]], report: OnProgress) -> None:
    """Download all files at once; raises the first error of any of them, the others stopped.

    However it ends, what has arrived is in the parts.
    """
    watches = [_Watch(download) for download in downloads]
    whole = sum(download.size or 0 for download in downloads)

    def look() -> None:
        for watch in watches:
            watch.look()
        report(_progress(downloads, whole or (downloads[0].size or 0)))

    run_all(downloads, look, LEAVE_S)
    report(Progress(Phase.DOWNLOADING, _have(downloads), _have(downloads)))


def _progress(downloads: Sequence[Download[Any]], total: int) -> Progress:
    """Return what people most want to know of all that is under way."""
    for phase in (Phase.DOWNLOADING, Phase.WAITING, Phase.CHECKING):
        for download in downloads:
            if download.phase is phase:
                detail = download.waits_for if phase is Phase.WAITING else ""
                return Progress(phase, _have(downloads), total, detail)
    return Progress(Phase.DOWNLOADING, _have(downloads), total)


def _have(downloads: Sequence[Download[Any]]) -> int:
    return sum(download.have for download in downloads)


def download_range(source: Source, start: int, end: int, patience: Patience) -> bytes:
    """Return a file's bytes from `start` up to `end`; raises as `transfer_all` does."""

    def once() -> bytes:
        data = bytearray()
        with contextlib.closing(source.stream(start, "", end)) as stream:
            with aborted_after(patience.head_s, stream.abort):
                stream.open()
            pieces = iter(stream)
            window, before = Deadline(patience.slow_s), 0
            while True:
                with aborted_after(patience.slow_s, stream.abort):
                    piece = next(pieces, None)
                if piece is None:
                    break
                data += piece
                if stream.skipped > _MOST_SKIPPED:
                    why = "Its server sends whole files only, and no part of one."
                    raise source.advice.error(SteprunError, why)
                moved = len(data) + stream.skipped
                if not window.left():
                    if moved - before < patience.slow_bytes:
                        raise Transient("It sends almost nothing.")
                    window, before = Deadline(patience.slow_s), moved
        if len(data) != end - start:
            raise Transient("It sends less than was requested.")
        return bytes(data)

    with errors_for(source.advice):
        return retry(patience, once)


def check_digest(source: Source, sha256: str, promised: str) -> None:
    """Raise BadFile where a file's sha256 is not the one that was promised."""
    if sha256 != promised:
        raise source.advice.oddity(BadFile, f"Its sha256 is {sha256}, and should be {promised}.")
