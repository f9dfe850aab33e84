"""A fake web server with pictures, named as one: it keeps what was asked, and has bad manners.

`/status/N`, `/to/ADDRESS` (a redirect), `/slow` (a byte now and then), `/endless`, `/gzip` (packed
though nobody wanted it), `/html`, `/cookie`; all else is a file of `files`, by path.
"""

import gzip
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from tests.fakes.loopback import Loopback


class PictureHost(Loopback):
    """Serves `files`. `asked`: the path and the headers of every request."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        super().__init__()
        self.files = files or {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        self.asked.append((to.path, dict(to.headers.items())))
        _, kind, *rest = to.path.split("/", 2)
        match kind:
            case "status":
                self.send(to, b"", status=int(rest[0]))
            case "to":
                self.send(to, b"", {"Location": unquote(rest[0]), "Set-Cookie": "a=b"}, status=302)
            case "slow":
                to.send_response(200)
                to.end_headers()
                while not self.over.wait(0.05):
                    to.wfile.write(b"x")
            case "endless":
                to.send_response(200)
                to.end_headers()
                end = time.monotonic() + 20
                while not self.over.is_set() and time.monotonic() < end:
                    to.wfile.write(b"\0" * 65536)
            case "gzip":
                data = gzip.compress(b"\0" * (64 << 20), 1)
                self.send(to, data, {"Content-Encoding": "gzip", "Content-Type": "image/png"})
            case "html":
                self.send(to, b"<html>", {"Content-Type": "image/png"})
            case _:
                data = self.files.get(to.path, b"")
                status = 200 if to.path in self.files else 404
                self.send(to, data, {"Content-Type": "text/plain"}, status=status)

    def send(
        self,
        to: BaseHTTPRequestHandler,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        status: int = 200,
    ) -> None:
        to.send_response(status)
        for name, value in (headers or {}).items():
            to.send_header(name, value)
        to.send_header("Content-Length", str(len(data)))
        to.end_headers()
        to.wfile.write(data)
