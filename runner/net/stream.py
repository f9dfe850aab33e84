"""Bytes of one file as a web server sends them, from a given place on, judged by their head.

A server may answer anything, slowly, for ever: no more is taken than was promised. What may pass
is `Transient`, what will not is `Mismatch` or `HttpStatus`; how long to wait is the caller's
business, who ends a stream that has become too slow with `abort`.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import httpx2

from runner.net import web
from runner.net.endpoint import Endpoint

_PASSING: Final = frozenset({408, 425, 429})  # and all from 500 on

Headers = Callable[[str], Mapping[str, str]]  # what to send beside the usual, by the address


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is given, in seconds.

    `head_s`: to answer at all. `stall_s`: between two pieces. `slow_s`: a window in which at least
    `slow_bytes` must come. `tries`: in a row, without a new megabyte; between two of them `pause_s`
    passes, then twice that, up to `most_pause_s`. `wait_s`: the longest pause that a server may ask
    for.
    """

    head_s: float = 30.0
    stall_s: float = 30.0
    slow_s: float = 60.0
    slow_bytes: int = 64 << 10
    tries: int = 4
    pause_s: float = 1.0
    most_pause_s: float = 60.0
    wait_s: float = 60.0

    def pause(self, tried: int) -> float:
        """Return how long to wait after so many tries in vain."""
        return min(self.pause_s * 2.0 ** (tried - 1), self.most_pause_s)


class Transient(Exception):  # noqa: N818 - a wish, not a fault
    """Something that may pass. `pause_s`: how long the server asks to wait.

    `anew`: what has come is of no use to the server as it is now.
    """

    def __init__(self, why: str, pause_s: float = 0, *, anew: bool = False) -> None:
        super().__init__(why)
        self.pause_s = pause_s
        self.anew = anew


class Mismatch(Exception):  # noqa: N818 - an answer, not a fault
    """What the server has is not what was promised."""


class HttpStatus(Exception):  # noqa: N818 - an answer, not a fault
    """A refusal: the answer's status, and its headers."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers


class Stream(Protocol):
    """The bytes of a file from some place on, in order.

    `size`: of the whole file, if known. `skipped`: bytes that came though they were before it.
    """

    size: int | None
    etag: str
    skipped: int

    def open(self) -> None:
        """Ask for the bytes. Raises Again, Odd, Status, or web.NoHop."""
        ...

    def __iter__(self) -> Iterator[bytes]:
        """Yield what comes. Raises Again or Odd."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def abort(self) -> None:
        """End it from another thread: who waits for bytes is told Again, soon."""
        ...


class HttpStream:
    """A file at `url`, its bytes from `start` up to `end`, or to the file's own.

    `open` is called once. `size`: what the whole file must have.
    `etag`: of the version that the bytes before `start` are of, if known.
    """

    def __init__(
        self,
        url: str,
        start: int = 0,
        end: int | None = None,
        *,
        size: int | None = None,
        etag: str = "",
        patience: Patience,
        headers: Headers = lambda _url: {},
    ) -> None:
        self._url = url
        self._start = start
        self._end = end
        self._headers = headers
        self._skip = 0
        self.skipped = 0
        self._count: int | None = None
        self._response: httpx2.Response | None = None
        self.size = size
        self.etag = etag
        timeout = httpx2.Timeout(patience.stall_s, connect=patience.head_s)
        self._http = web.plain_client(timeout, local=Endpoint(url).local)

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            with contextlib.suppress(Exception):
                self._response.close()
        self._http.close()

    def open(self) -> None:
        """Ask for the bytes. Raises Again, Odd, Status, or web.NoHop."""
        url = self._url
        for _ in range(web.HOPS + 1):
            response = self._response = self._ask(url)
            if response.status_code not in web.REDIRECTS:
                if response.status_code in {401, 403} and url != self._url:
                    raise Transient(
                        f"The link it gave has run out (status {response.status_code})."
                    )
                self._judge(response)
                return
            response.close()
            url = web.next_hop(url, response.headers.get("location", ""))
        raise Transient(f"It redirects more than {web.HOPS} times.")

    def _ask(self, url: str) -> httpx2.Response:
        headers = {"Accept-Encoding": "identity", "User-Agent": web.AGENT, **self._headers(url)}
        if self._start or self._end is not None:
            last = "" if self._end is None else self._end - 1
            headers["Range"] = f"bytes={self._start}-{last}"
            headers |= {"If-Range": self.etag} if self.etag.startswith('"') else {}
        try:
            return self._http.send(
                self._http.build_request("GET", url, headers=headers), stream=True
            )
        except httpx2.TimeoutException as error:
            raise Transient("No answer within the time it was given.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RuntimeError) as error:
            raise Transient(failed(error)) from error

    def _judge(self, response: httpx2.Response) -> None:
        """Judge an answer by its head."""
        status, headers = response.status_code, response.headers
        if trouble := passing(status, headers):
            raise trouble
        if status == 416:
            # Of a known size there is more to come, whatever the server thinks just now.
            raise Transient("It is shorter than it was (status 416).", anew=self.size is None)
        if status not in {200, 206}:
            raise HttpStatus(status, headers)
        if "text/html" in headers.get("content-type", ""):
            raise Mismatch("A web page came in its place; a network may ask to sign in.")
        if headers.get("content-encoding", "identity") != "identity":
            raise Mismatch("It comes compressed once more.")
        etag = web.etag(headers)
        length = web.whole(headers.get("content-length", ""))
        if status == 200:
            if self._start and self.etag and etag and etag != self.etag:
                raise Transient("It has become another file meanwhile.", anew=True)
            size = length
            self._skip = self._start
        else:
            found = web.content_range(headers)
            if not found or found[0] != self._start:
                raise Transient("It sends another part than was asked for.")
            size = found[2]
        if None not in {self.size, size} and size != self.size:
            raise Mismatch(f"It has {size:,} bytes, and should have {self.size:,}.")
        self.size = self.size if self.size is not None else size
        self.etag = etag
        if self.size is not None:
            self._count = min(self._end or self.size, self.size) - self._start

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes from `start` on, and never more than there should be."""
        if self._response is None:
            raise ValueError(self._url)
        left, skip = self._count, self._skip
        pieces = self._response.iter_raw()  # of a size asked for, the last would be lost
        while left is None or left > 0:
            try:
                data = next(pieces, b"")
            except httpx2.TimeoutException as error:
                raise Transient("It sends almost nothing.") from error
            except (httpx2.HTTPError, httpx2.StreamError, OSError, RuntimeError) as error:
                raise Transient(failed(error)) from error
            if not data and left is None:  # the whole of what nobody said the length of
                return
            if not data:
                raise Transient("The connection broke off.")
            if skip:  # it does not know ranges, and sends the file from its beginning
                self.skipped += min(skip, len(data))
                skip, data = max(0, skip - len(data)), data[skip:]
                if not data:
                    yield b""
                    continue
            if left is not None:
                if len(data) > left and self._end is None:
                    raise Mismatch(f"It has more than the {self.size:,} bytes promised.")
                data = data[:left]
                left -= len(data)
            yield data

    def abort(self) -> None:
        """End it from another thread."""
        with contextlib.suppress(Exception):
            if self._response is not None:
                found = self._response.extensions["network_stream"].get_extra_info("socket")
                found.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):
            self._http.close()


def passing(status: int, headers: Mapping[str, str]) -> Transient | None:
    """Return what to say of a status that may pass; None of any other."""
    if status not in _PASSING and status < 500:
        return None
    pause = web.whole(headers.get("retry-after", "")) or 0
    asks = " and asks for a pause" if status == 429 else ""
    return Transient(f"The server answers with status {status}{asks}.", pause)


def failed(error: Exception) -> str:
    """Say why a connection failed."""
    return f"The connection failed: {web.shown(str(error) or type(error).__name__)}."
