"""A fake Hugging Face hub: real HTTP on the loopback, files of the test's own, bad manners on call.

`FakeHub({"folder/file.gguf": path_or_bytes})` serves each file at
`/OWNER/REPO/resolve/REVISION/folder/file.gguf`, whatever owner, repository and revision are asked
for. It knows ranges and versions as the real one does. `manner` says how it misbehaves; a test may
change it between two requests, and give single files a manner of their own in `manners`.
"""

import contextlib
import hashlib
import io
import re
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from tests.fakes.loopback import Loopback

CHUNK = 1 << 16


@dataclass(frozen=True)
class Manner:
    """How a file is served. The defaults are good manners.

    `status`, with `headers`: answered in place of the file. `redirect`: where to send the client
    (`{path}` stands for the path asked for). `ranges` False: the whole file, whatever was asked
    for. `page`: a web page with status 200. `encoding`: says so, and sends noise. `chunked`: no
    length. `content_range`: said in place of the truth. `length_lie`: added to the length that is
    promised. `cut`: the connection breaks after so many bytes. `drip_s`: a byte at a time, with
    this pause. `drip_headers_s`: the same before the body. `silent`: no answer at all. `token`:
    only for who sends it. `restless`: each answer is of another version.
    `etag` False: versions have no names. `deaf`: sends again what the client has already.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    redirect: str = ""
    ranges: bool = True
    page: bool = False
    encoding: str = ""
    chunked: bool = False
    content_range: str = ""
    length_lie: int = 0
    cut: int | None = None
    drip_s: float = 0
    drip_headers_s: float = 0
    silent: bool = False
    token: str = ""
    restless: bool = False
    etag: bool = True
    deaf: bool = False


@dataclass(frozen=True)
class Asked:
    """One request, as it came; `sent` counts the bytes of the answer's body."""

    path: str
    headers: Message
    sent: list[int] = field(default_factory=lambda: [0])

    @property
    def range(self) -> str:
        return str(self.headers.get("Range", ""))

    @property
    def token(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")


class FakeHub(Loopback):
    """Serves files on a free port of the loopback."""

    def __init__(self, files: dict[str, bytes | Path], manner: Manner | None = None) -> None:
        self.files = dict(files)
        self.manner = manner or Manner()
        self.manners: dict[str, Manner] = {}
        self.asked: list[Asked] = []
        super().__init__()

    @property
    def body_bytes(self) -> int:
        """How many bytes of files were sent, all answers together."""
        return sum(asked.sent[0] for asked in self.asked)

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        asked = Asked(to.path, to.headers)
        self.asked.append(asked)
        # A client that has read enough hangs up; that is no fault.
        with contextlib.suppress(OSError):
            self._answer(to, asked)

    def _answer(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        path = unquote(asked.path.partition("?")[0])
        name = re.sub(r"^/[^/]+/[^/]+/resolve/[^/]+/", "", path).lstrip("/")
        manner = self.manners.get(name, self.manner)
        if manner.silent:
            self.over.wait(60)
        elif manner.token and asked.token != manner.token:
            _plain(to, 401, (("X-Error-Code", "GatedRepo"),))
        elif manner.redirect:
            _plain(to, 302, (("Location", manner.redirect.replace("{path}", asked.path)),))
        elif manner.status:
            _plain(to, manner.status, manner.headers)
        elif manner.page:
            _page(to)
        elif name not in self.files:
            _plain(to, 404, (("X-Error-Code", "EntryNotFound"),))
        else:
            self._send_file(to, asked, manner, self.files[name])

    def _send_file(
        self, to: BaseHTTPRequestHandler, asked: Asked, manner: Manner, file: bytes | Path
    ) -> None:
        stream: BinaryIO = io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")
        with stream:
            size = stream.seek(0, io.SEEK_END)
            version = hashlib.sha256(f"{file!r}{size}".encode()).hexdigest()
            if manner.restless:
                version = f"{len(self.asked)}"
            known = asked.headers.get("If-None-Match") == f'"{version}"'
            if known and manner.etag and not manner.deaf:
                _plain(to, 304, (("ETag", f'"{version}"'),))
                return
            first, last, partial = 0, size - 1, False
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.range)
            same = asked.headers.get("If-Range", f'"{version}"') == f'"{version}"'
            if manner.ranges and match and same:
                first, partial = int(match[1]), True
                last = min(int(match[2] or last), last)
                if first >= size:
                    _plain(to, 416, (("Content-Range", f"bytes */{size}"),))
                    return
            headers = [("ETag", f'"{version}"')] if manner.etag else []
            if manner.ranges:
                headers.append(("Accept-Ranges", "bytes"))
            if partial:
                told = manner.content_range or f"bytes {first}-{last}/{size}"
                headers.append(("Content-Range", told))
            if manner.encoding:
                headers.append(("Content-Encoding", manner.encoding))
            count = last - first + 1
            if not manner.chunked:
                headers.append(("Content-Length", str(count + manner.length_lie)))
            to.close_connection = bool(manner.chunked or manner.length_lie or manner.cut)
            self._head(to, 206 if partial else 200, headers, manner.drip_headers_s)
            stream.seek(first)
            self._body(to, asked, manner, stream, count)

    def _head(
        self,
        to: BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        drip_s: float,
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

    def _body(
        self,
        to: BaseHTTPRequestHandler,
        asked: Asked,
        manner: Manner,
        stream: BinaryIO,
        count: int,
    ) -> None:
        left = count if manner.cut is None else min(count, manner.cut)
        while left and not self.over.is_set():
            data = stream.read(1 if manner.drip_s else min(CHUNK, left))
            to.wfile.write(data)
            asked.sent[0] += len(data)
            left -= len(data)
            if manner.drip_s:
                self.over.wait(manner.drip_s)
        if manner.cut is not None:
            to.close_connection = True


def _plain(
    to: BaseHTTPRequestHandler, status: int, headers: tuple[tuple[str, str], ...] = ()
) -> None:
    body = b"" if status == 304 else b"Entry not found"
    to.send_response(status)
    for key, value in (*headers, ("Content-Length", str(len(body)))):
        to.send_header(key, value)
    to.end_headers()
    to.wfile.write(body)


def _page(to: BaseHTTPRequestHandler) -> None:
    body = b"<!DOCTYPE html><html><title>Sign in to this network</title></html>"
    to.send_response(200)
    to.send_header("Content-Type", "text/html; charset=utf-8")
    to.send_header("Content-Length", str(len(body)))
    to.end_headers()
    to.wfile.write(body)
