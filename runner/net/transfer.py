"""Files from the network to their places: bounded, resumed, checked, whole or not at all.

What has come lies beside the place, in a part that a later call goes on from. Each file has a
thread of its own that blocks, which costs half of what asyncio does; the caller's thread watches
them all, shows their progress, and ends what has become too slow.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, Protocol, TypeVar

from runner.base.disk import check_room
from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.progress import OnProgress, Phase, Progress
from runner.net import web
from runner.net.stream import HttpStatus, Mismatch, Patience, Stream, Transient

_T = TypeVar("_T")

MOST_BYTES: Final = 8 << 30  # of a file whose size nobody promised; the largest archive is 0.6 GB
_CHUNK: Final = 1 << 20
_LOOK_S: Final = 0.1  # between two looks at the threads
_LEAVE_S: Final = 5.0  # a thread has this long to end once its stream is aborted
_STUCK: Final = 10  # times the patience for a head; not every question can be ended from outside
_MOST_SKIPPED: Final = 64 << 20  # bytes that nobody asked for, on the way to a range


class Digest(Protocol):
    """What is made of a file's bytes while they come."""

    def resume(self, part: BinaryIO, told: Callable[[int], None]) -> int:
        """Take in what an earlier run left; return how many bytes of it are good."""
        ...

    def update(self, data: bytes) -> None:
        """Take in the bytes that follow."""
        ...

    def hexdigest(self) -> str:
        """Return the sha256 of all of it."""
        ...


D = TypeVar("D", bound=Digest)


class Source(Protocol):
    """Where a file comes from. `name`: how people are told of it."""

    name: str

    def stream(self, start: int, etag: str, end: int | None = None) -> Stream:
        """Return its bytes from `start` on, of the version `etag` if that is not empty."""
        ...

    def refused(self, answer: HttpStatus) -> SteprunError:
        """Say what a refusal means."""
        ...


class Stopped(Exception):  # noqa: N818 - not a fault
    """Another file has failed, or the user has had enough: what came is kept."""


class Fetch(Generic[D]):
    """One file on its way: what has come is in `part`, and in its digest.

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
        self.came = 0  # bytes from the network, in this run
        self.phase: Phase | None = Phase.CHECKING  # None once it is done
        self.waits_for = ""
        self.attempt = 0  # each stage of each try has a number of its own
        self.opening = False
        self.left = False  # its thread did not end in time: the part may be another's by now
        self.error: BaseException | None = None
        self._make, self._finish = make, finish
        self._digest = make()
        self._etag = ""
        self._stream: Stream | None = None
        self._aborted = ""

    def run(self, stop: threading.Event) -> None:
        """Bring it, and keep what goes wrong in `error`."""
        try:
            self._run(stop)
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self.error = error

    def abort(self, why: str) -> None:
        """End what is under way, from another thread."""
        self._aborted = why
        stream = self._stream
        if stream is not None:
            stream.abort()

    def _run(self, stop: threading.Event) -> None:
        self.part.open("ab").close()  # which leaves the time of an older one as it is
        with self.part.open("r+b", buffering=0) as file:
            good = self._digest.resume(file, self._checked(stop))
            if self.size is not None and good > self.size:
                good = self._anew(file)
            self.have = good
            file.seek(good)
            try:
                self._bring(file, stop)
            finally:
                if not self.left:
                    file.truncate(self.have)
                    os.fsync(file.fileno())
        self.phase = None
        self._finish(self._digest)

    def _checked(self, stop: threading.Event) -> Callable[[int], None]:
        def told(done: int) -> None:
            self.have = done
            if stop.is_set():
                raise Stopped

        return told

    def _bring(self, file: BinaryIO, stop: threading.Event) -> None:
        tried, most = 0, self.have
        while self.have != self.size:
            try:
                self._once(file, stop)
            except Transient as error:
                why, self._aborted = self._aborted or str(error), ""
                if stop.is_set():
                    raise Stopped from error
                if error.anew:
                    self._anew(file)
                tried = 1 if self.have - most >= _CHUNK else tried + 1
                most = max(most, self.have)  # so that a server cannot make it begin anew for ever
                patience = self.patience
                if tried >= patience.tries or error.pause_s > patience.wait_s:
                    raise self.given_up(why, error.pause_s) from error
                self.phase, self.waits_for = Phase.WAITING, why.rstrip(".")
                self.attempt += 1
                if stop.wait(max(error.pause_s, patience.pause(tried))):
                    raise Stopped from error

    def _once(self, file: BinaryIO, stop: threading.Event) -> None:
        name = self.source.name
        self.attempt += 1
        self.opening = True
        try:
            self._stream = self.source.stream(self.have, self._etag)
            self._stream.open()
            self.opening, self._aborted = False, ""
            self._receive(file, self._stream, stop)
        except HttpStatus as answer:
            raise self.source.refused(answer) from answer
        except Mismatch as error:
            raise wrong(name, str(error)) from error
        except web.RedirectRefused as error:
            raise Refused(
                f"{name} was not fetched",
                why=str(error),
                next="Fetch the file yourself, check it, and give its path",
            ) from error
        finally:
            self.opening = False
            if self._stream is not None:
                self._stream.close()
                self._stream = None

    def _receive(self, file: BinaryIO, stream: Stream, stop: threading.Event) -> None:
        self._etag = stream.etag
        size = self.size if self.size is not None else stream.size
        if size is None or (self.size is None and size > MOST_BYTES):
            raise Mismatch("It does not say how long it is, or is too long.")
        self.size = size
        check_room(self.part.parent, size - self.have)
        self.phase = Phase.DOWNLOADING
        self.attempt += 1
        for data in stream:
            if stop.is_set():
                raise Stopped
            self._take(file, data)

    def _take(self, file: BinaryIO, data: bytes) -> None:
        if self.have + len(data) > (self.size or 0):
            raise Mismatch(f"It has more than the {self.size:,} bytes promised.")
        # Zeros become a hole, which takes no room: files of them are how 105 GB are rehearsed.
        if data and not data[-1] and not data[0] and data == bytes(len(data)):
            file.seek(len(data), os.SEEK_CUR)
        else:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        self._digest.update(data)
        self.have += len(data)
        self.came += len(data)

    def moved(self) -> int:
        """Return how many bytes came, those among them that were here already."""
        stream = self._stream
        return self.came + (stream.skipped if stream is not None else 0)

    def given_up(self, why: str, pause_s: float = 0) -> SteprunError:
        """Return the error of a server that has been given all the time it gets."""
        of = f" of {self.size:,}" if self.size else ""
        wait = f" It asks to wait for {pause_s:.0f} seconds." if pause_s else ""
        return _not_fetched(self.source.name, f"{why}{wait} {self.have:,}{of} bytes have come.")

    def _anew(self, file: BinaryIO) -> int:
        file.seek(0)
        file.truncate()
        self.have = 0
        self._digest = self._make()
        return 0


class _Watch:
    """Sees to it that one file's server is not given more time than its `Patience` says."""

    def __init__(self, fetch: Fetch[Any]) -> None:
        self._fetch = fetch
        self._stage = -1
        self._since = 0.0
        self._then = 0

    def look(self, now: float) -> None:
        fetch, patience = self._fetch, self._fetch.patience
        if fetch.attempt != self._stage:
            self._stage, self._since, self._then = fetch.attempt, now, fetch.moved()
        elif fetch.opening and now - self._since > patience.head_s:
            why = f"No answer within {patience.head_s:g} seconds."
            fetch.abort(why)
            if now - self._since > _STUCK * patience.head_s:
                raise fetch.given_up(why)
        elif fetch.phase is Phase.DOWNLOADING and now - self._since > patience.slow_s:
            if fetch.moved() - self._then < patience.slow_bytes:
                fetch.abort("It sends almost nothing.")
            self._since, self._then = now, fetch.moved()


def transfer_all(fetches: Sequence[Fetch[Any]], tell: OnProgress) -> None:
    """Bring all files at once; raises the first error that any of them meets, the others stopped.

    However it ends, what came is in the parts.
    """
    stop = threading.Event()
    threads = [threading.Thread(target=f.run, args=(stop,), daemon=True) for f in fetches]
    watches = [_Watch(fetch) for fetch in fetches]
    whole = sum(fetch.size or 0 for fetch in fetches)
    try:
        for thread in threads:
            thread.start()
        while running := [thread for thread in threads if thread.is_alive()]:
            running[0].join(_LOOK_S)
            if any(fetch.error for fetch in fetches):
                break
            for watch in watches:
                watch.look(time.monotonic())
            tell(_progress(fetches, whole or (fetches[0].size or 0)))
    finally:
        stop.set()
        for fetch, thread in zip(fetches, threads, strict=True):
            if thread.is_alive():
                fetch.abort("")
        ends = time.monotonic() + _LEAVE_S
        for fetch, thread in zip(fetches, threads, strict=True):
            if thread.ident is not None:
                thread.join(max(0.0, ends - time.monotonic()))
                fetch.left = thread.is_alive()
    errors = [fetch.error for fetch in fetches if fetch.error is not None]
    for error in sorted(errors, key=lambda each: isinstance(each, Stopped)):
        raise error
    tell(Progress(Phase.DOWNLOADING, _have(fetches), _have(fetches)))


def _progress(fetches: Sequence[Fetch[Any]], total: int) -> Progress:
    """Return the one thing of all that go on which people would most want to know."""
    for phase in (Phase.DOWNLOADING, Phase.WAITING, Phase.CHECKING):
        for fetch in fetches:
            if fetch.phase is phase:
                detail = fetch.waits_for if phase is Phase.WAITING else ""
                return Progress(phase, _have(fetches), total, detail)
    return Progress(Phase.DOWNLOADING, _have(fetches), total)


def _have(fetches: Sequence[Fetch[Any]]) -> int:
    return sum(fetch.have for fetch in fetches)


def fetch_range(source: Source, start: int, end: int, patience: Patience) -> bytes:
    """Return a file's bytes from `start` up to `end`; raises as `transfer_all` does."""

    def once() -> bytes:
        stream = source.stream(start, "", end)
        try:
            with ended_after(patience.head_s, stream):
                stream.open()
            return b"".join(_in_time(source.name, stream, patience))
        finally:
            stream.close()

    try:
        return patiently(patience, once)
    except HttpStatus as answer:
        raise source.refused(answer) from answer
    except (Mismatch, web.RedirectRefused) as error:
        raise wrong(source.name, str(error)) from error
    except Transient as error:
        raise _not_fetched(source.name, str(error)) from error


def patiently(patience: Patience, once: Callable[[], _T]) -> _T:
    """Return what `once` does, which is tried again while it raises Again, as long as allowed."""
    tried = 0
    while True:
        try:
            return once()
        except Transient as error:
            tried += 1
            if tried >= patience.tries or error.pause_s > patience.wait_s:
                raise
            time.sleep(max(error.pause_s, patience.pause(tried)))


def _in_time(name: str, stream: Stream, patience: Patience) -> Iterator[bytes]:
    ends = time.monotonic() + patience.slow_s
    came = 0
    pieces = iter(stream)
    while True:
        with ended_after(patience.slow_s, stream):
            data = next(pieces, None)
        if data is None:
            return
        if stream.skipped > _MOST_SKIPPED:
            raise _not_fetched(name, "Its server sends whole files only, and no part of one.")
        came += len(data)
        if time.monotonic() > ends:
            if came < patience.slow_bytes:
                raise Transient("It sends almost nothing.")
            ends, came = time.monotonic() + patience.slow_s, 0
        yield data


@contextlib.contextmanager
def ended_after(seconds: float, stream: Stream) -> Iterator[None]:
    """Abort a stream that takes longer than this, for those who have nobody to watch it."""
    timer = threading.Timer(seconds, stream.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _not_fetched(name: str, why: str) -> SteprunError:
    return SteprunError(
        f"{name} was not fetched",
        why=why,
        next="Check the network or the proxy (HTTPS_PROXY), and try again: it goes on where it was",
    )


def wrong(name: str, why: str) -> BadFile:
    """Return the error of a file that is not what was promised."""
    return BadFile(
        f"{name} is not what was published",
        why=why,
        next="Try again; if it happens again, ask the keeper of the server or mirror",
    )
