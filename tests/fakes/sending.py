"""How a fake sends files over HTTP: with good manners, or with bad ones that a test asks for."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler

from tests.fakes.shelf import File, size

Headers = list[tuple[str, str]]
Send = Callable[[int, int, bool], int]

_BLOCK = 1 << 20  # bytes sent between two looks at whether all is over


@dataclass(frozen=True)
class Manner:
    """How a file is served. The defaults are good manners.

    `only`: for requests of this method; for others manners are good, and no turn is used up.
    `status`, with `headers`: answered in place of the file. `redirect`: where to send the client
    (`{path}` stands for the path asked for). `ranges` False: the whole file, whatever was asked
    for. `page`: a web page with status 200. `encoding`: says so, and sends noise. `chunked`: no
    length. `content_range`: said in place of the truth. `length_lie`: added to the length that is
    promised. `size_lie`: added to X-Linked-Size, and to sizes in listings. `cut`: the connection
    breaks after so many bytes. `drip_s`: a byte at a time, with this pause. `rate`: bytes a second,
    all answers of the hub together. `flip`: the byte at this offset of the file is sent wrong.
    `drip_headers_s`: the same as `drip_s`, before the body. `silent`: no answer at all. `token`:
    only for who sends it. `restless`: each answer is of another version. `etag` False: versions
    have no names; a text: told in place of the truth. `deaf`: sends again what the client has
    already. `head` False: HEAD is not supported (405).
    """

    only: str = ""
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    redirect: str = ""
    ranges: bool = True
    page: bool = False
    encoding: str = ""
    chunked: bool = False
    content_range: str = ""
    length_lie: int = 0
    size_lie: int = 0
    cut: int | None = None
    drip_s: float = 0
    rate: float = 0
    flip: int | None = None
    drip_headers_s: float = 0
    silent: bool = False
    token: str = ""
    restless: bool = False
    etag: bool | str = True
    deaf: bool = False
    head: bool = True


GOOD = Manner()


@dataclass
class Asked:
    """One request, as it came; `sent` counts the bytes of a file in the answer."""

    method: str
    path: str
    headers: Message
    sent: int = 0

    @property
    def range(self) -> str:
        return str(self.headers.get("Range", ""))

    @property
    def token(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")


@dataclass(frozen=True)
class Exchange:
    """One request, the connection to answer on, and how to behave."""

    to: BaseHTTPRequestHandler
    asked: Asked
    manner: Manner


class Line:
    """The way from a server to its clients, until `over` is set."""

    def __init__(self, over: threading.Event) -> None:
        self.over = over
        self._free = 0.0  # the time at which all is sent that was taken, at a `rate`
        self._lock = threading.Lock()

    def refuses(self, exchange: Exchange) -> bool:
        """Answer with bad manners that need no file; tell whether there were any."""
        to, asked, manner = exchange.to, exchange.asked, exchange.manner
        if manner.silent:
            to.close_connection = True
            self.over.wait(60)
        elif asked.method == "HEAD" and not manner.head:
            plain(to, 405)
        elif manner.token and asked.token != manner.token:
            plain(to, 401, [("X-Error-Code", "GatedRepo")])
        elif manner.redirect:
            plain(to, 302, [("Location", manner.redirect.replace("{path}", asked.path))])
        elif manner.status:
            plain(to, manner.status, manner.headers)
        elif manner.page:
            body = b"<!DOCTYPE html><html><title>Sign in to this network</title></html>"
            plain(to, 200, (), body, "text/html; charset=utf-8")
        else:
            return False
        return True

    def send(self, exchange: Exchange, file: File, etag: str, headers: Headers) -> None:
        """Send a file, or the range of it that was asked for."""
        to, asked, manner = exchange.to, exchange.asked, exchange.manner
        headers = [*headers, *named("ETag", etag)]
        if etag and asked.headers.get("If-None-Match") == etag and not manner.deaf:
            plain(to, 304, headers)
            return
        whole = size(file)
        first, last = 0, whole - 1
        partial = None
        if manner.ranges:
            headers.append(("Accept-Ranges", "bytes"))
            if asked.headers.get("If-Range", etag) == etag:
                partial = _range(asked.range, whole)
        if partial:
            first, last = partial
            if first >= whole:
                plain(to, 416, [("Content-Range", f"bytes */{whole}")])
                return
            told = manner.content_range or f"bytes {first}-{last}/{whole}"
            headers.append(("Content-Range", told))
        if manner.encoding:
            headers.append(("Content-Encoding", manner.encoding))
        if not manner.chunked:
            headers.append(("Content-Length", str(last - first + 1 + manner.length_lie)))
        if manner.chunked or manner.length_lie or manner.cut is not None:
            to.close_connection = True
        self._head(to, 206 if partial else 200, headers, manner.drip_headers_s)
        if asked.method != "HEAD":
            cut = whole if manner.cut is None else manner.cut
            self._body(exchange, file, first, min(last + 1, first + cut))

    def _head(
        self, to: BaseHTTPRequestHandler, status: int, headers: Headers, drip_s: float
    ) -> None:
        to.send_response(status)
        for key, value in headers:
            to.send_header(key, value)
        if drip_s:
            to.send_header("X-Long", "x" * 1000)
            for byte in b"".join(to._headers_buffer):  # type: ignore[attr-defined]
                to.wfile.write(bytes([byte]))
                if self.over.wait(drip_s):
                    break
            to._headers_buffer = []  # type: ignore[attr-defined]
        to.end_headers()

    def _body(self, exchange: Exchange, file: File, first: int, end: int) -> None:
        """Send the bytes from `first` up to `end`."""
        to, asked, manner = exchange.to, exchange.asked, exchange.manner
        block = 1 << 16 if isinstance(file, bytes) else _BLOCK
        if manner.rate:
            block = min(block, int(manner.rate / 20) or 1)
        if manner.drip_s:
            block = 1
        with _opened(to, file) as send:
            while first < end and not self.over.is_set():
                count = min(block, end - first)
                if manner.flip is not None and first <= manner.flip < first + count:
                    count = manner.flip - first or 1
                asked.sent += count  # before, as the client may be done sooner than this thread
                sent = 0
                try:
                    sent = send(first, count, first == manner.flip)
                finally:
                    asked.sent -= count - sent
                if not sent:  # the file was shortened meanwhile
                    break
                first += sent
                self._pause(manner, sent)
        if first < end:
            to.close_connection = True

    def _pause(self, manner: Manner, sent: int) -> None:
        pause = manner.drip_s
        if manner.rate:
            with self._lock:
                now = time.monotonic()
                self._free = max(self._free, now) + sent / manner.rate
                pause = max(pause, self._free - now)
        if pause:
            self.over.wait(pause)


@contextmanager
def _opened(to: BaseHTTPRequestHandler, file: File) -> Iterator[Send]:
    """Give a function that sends (from, count, flipped) and returns how many bytes it sent."""
    if isinstance(file, bytes):
        view = memoryview(file)

        def send(first: int, count: int, flipped: bool) -> int:
            return _write(to, view[first : first + count], flipped)

        yield send
        return
    with file.open("rb", buffering=0) as stream:

        def send_file(first: int, count: int, flipped: bool) -> int:
            if hasattr(os, "sendfile") and not flipped:
                return os.sendfile(to.connection.fileno(), stream.fileno(), first, count)
            stream.seek(first)
            return _write(to, stream.read(count), flipped)

        yield send_file


def _write(to: BaseHTTPRequestHandler, data: bytes | memoryview, flipped: bool) -> int:
    to.wfile.write(bytes(byte ^ 0xFF for byte in data) if flipped else data)
    return len(data)


def named(key: str, value: str) -> Headers:
    """Return a header, or none where there is nothing to say."""
    return [(key, value)] if value else []


def plain(
    to: BaseHTTPRequestHandler,
    status: int,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"Entry not found",
    kind: str = "text/plain; charset=utf-8",
) -> None:
    """Answer with something that is no file."""
    body = b"" if status in (204, 304) else body
    to.send_response(status)
    for key, value in (*headers, ("Content-Type", kind), ("Content-Length", str(len(body)))):
        to.send_header(key, value)
    to.end_headers()
    if to.command != "HEAD":
        to.wfile.write(body)


def _range(text: str, whole: int) -> tuple[int, int] | None:
    """Return the first and the last byte of a Range header; None for what asks for all."""
    match = re.fullmatch(r"bytes=(?:(\d+)-(\d*)|-(\d+))", text)
    if not match:
        return None
    if match[3]:
        return max(whole - int(match[3]), 0) if int(match[3]) else whole, whole - 1
    first, last = int(match[1]), int(match[2] or whole)
    return (first, min(last, whole - 1)) if first <= last or first >= whole else None
