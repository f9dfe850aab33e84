"""A file as a stream of bytes from a given offset: the answer's head is judged before its body.

A server may answer anything, slowly, for ever: no more is taken than was promised. What may pass
is `Transient`, what will not is `Mismatch` or `HttpStatus`. How long to wait is up to the caller,
who ends a stream that has become too slow by `abort`.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol

import httpx2

from runner.base.errors import BadFile
from runner.base.text import shown
from runner.net import headers as answers
from runner.net import http
from runner.net.http import Client, Headers, Mismatch, no_headers
from runner.net.retry import Patience, Transient


class Stream(Protocol):
    """The bytes of a file from some offset on, in order.

    `size`: of the whole file, if known. `skipped`: bytes received although they lie before it.
    """

    size: int | None
    etag: str
    skipped: int

    def open(self) -> None:
        """Request the bytes. Raises Transient, Mismatch, HttpStatus or RedirectRefused."""
        ...

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes, fewer where a server sends a shorter range. Raises as `open` does."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...

    def abort(self) -> None:
        """End it from another thread: the one that waits gets Transient soon."""
        ...


class HttpStream:
    """A file at `url`, its bytes from `start` up to `end`, or to the file's own.

    `open` is called once. `size`: what the whole file must have. `etag`: the version that the bytes
    before `start` are of, if known. `unless`: a version that need not be sent (HttpStatus 304).
    `client`: one that the caller closes; else a new one.
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
        headers: Headers = no_headers,
        client: Client | None = None,
        unless: str = "",
    ) -> None:
        self._url = url
        self._start = start
        self._end = end
        self._skip = 0
        self.skipped = 0
        self._count: int | None = None  # bytes that the answer must have
        self._partial = False
        self._response: httpx2.Response | None = None
        self.size = size
        self.etag = etag
        self._unless = unless
        self._shared = client is not None
        self._client = client or Client(patience, headers)

    def open(self) -> None:
        """Request the bytes. Raises Transient, Mismatch, HttpStatus or RedirectRefused."""
        headers = {"Accept-Encoding": "identity"}
        if self._start or self._end is not None:
            last = "" if self._end is None else self._end - 1
            headers["Range"] = f"bytes={self._start}-{last}"
            headers |= {"If-Range": self.etag} if self.etag.startswith('"') else {}
        headers |= {"If-None-Match": self._unless} if self._unless else {}
        self._response = self._client.send(self._url, headers)
        self._judge(self._response)

    def _judge(self, response: httpx2.Response) -> None:
        """Judge an answer by its head."""
        headers = response.headers
        if response.status_code == 416 and (self._start or self.size is not None):
            # Of a known size there is more to come, whatever the server thinks just now.
            raise Transient("It is shorter than it was (status 416).", restart=self.size is None)
        http.judge(response)
        if headers.get("content-encoding", "identity") != "identity":
            raise Mismatch("It sends the file compressed, so that its offsets are unknown.")
        etag = answers.etag(headers)
        length = answers.number(headers, "content-length")
        self._partial = response.status_code == 206
        size = length
        if self._partial:
            self._count, size = self._range(response, length)
        else:
            if self._start and self.etag and etag and etag != self.etag:
                raise Transient("It has become another file meanwhile.", restart=True)
            self._skip = self._start
        if None not in {self.size, size} and size != self.size:
            raise Mismatch(f"It has {size:,} bytes, and should have {self.size:,}.")
        self.size = self.size if self.size is not None else size
        self.etag = etag
        if self.size is not None and not self._partial:
            self._count = min(self._end or self.size, self.size) - self._start

    def _range(self, response: httpx2.Response, length: int | None) -> tuple[int, int]:
        """Return how many bytes a partial answer has, and the whole file."""
        first, last, size = answers.content_range(response.headers) or (0, 0, 0)
        if not self._start == first <= last < min(self._end or size, size):
            sent = shown(response.headers.get("content-range", ""))
            end = "" if self._end is None else self._end - 1
            raise Transient(
                f"Requested were bytes {self._start}-{end}; it sends {sent}.", final=BadFile
            )
        count = last - first + 1
        if length not in {None, count}:
            raise Transient(
                f"It promises {length:,} bytes where its range has {count:,}.", final=BadFile
            )
        return count, size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes from `start` on, and never more than there should be."""
        if self._response is None:
            raise ValueError(self._url)
        left, skip = self._count, self._skip
        pieces = self._client.pieces(self._response)
        while left is None or left > 0:
            data = next(pieces, b"")
            if not data and left is None:  # all of a file of unknown length
                return
            if not data:
                raise Transient(
                    f"The connection broke off: it sends fewer than the {self._count:,} bytes that"
                    " it promises.",
                    final=BadFile,
                )
            if skip:  # it does not know ranges, and sends the file from its beginning
                self.skipped += min(skip, len(data))
                skip, data = max(0, skip - len(data)), data[skip:]
                if not data:
                    yield b""
                    continue
            if left is not None:
                if len(data) > left and (self._partial or self._end is None):
                    raise self._too_long()
                data = data[:left]
                left -= len(data)
            yield data
        # The end of a partial answer is read, too, so that the connection can be used again.
        if self._partial and self._shared and next(pieces, b""):
            raise self._too_long()

    def _too_long(self) -> Mismatch:
        count = self._count if self._partial else self.size
        return Mismatch(f"It sends more than the {count:,} bytes that it should have.")

    def close(self) -> None:
        """Close the answer, and the connection unless it is shared."""
        if self._response is not None:
            with contextlib.suppress(Exception):
                self._response.close()
        if not self._shared:
            self._client.close()

    def abort(self) -> None:
        """End it from another thread."""
        self._client.abort()
