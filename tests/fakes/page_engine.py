"""A fake engine, named as one, whose web page is as llama-server's: public, and gzip only."""

import gzip
from http.server import BaseHTTPRequestHandler

from tests.fakes.loopback import Loopback

ETAG = '"5332ad3c"'


class PageEngine(Loopback):
    """Serves `files` (path: content type, content) to anybody, and `/slots` only with its key."""

    method = "GET HEAD"

    def __init__(self, files: dict[str, tuple[str, bytes]]) -> None:
        super().__init__()
        self.files = files
        self.key = "engine-key"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Answer one request as llama-server b11549 does."""
        found = self.files.get(to.path)
        if to.path == "/slots.json":  # stands for whatever is not of the page
            given = to.headers.get("Authorization", "")
            return self._send(to, 200 if given == f"Bearer {self.key}" else 401, {}, b"[]")
        if found is None:
            return self._send(to, 404, {}, b'{"error":{}}')
        if "gzip" not in to.headers.get("Accept-Encoding", ""):
            return self._send(to, 415, {}, b"Error: gzip is not supported by this browser")
        headers = {"Content-Encoding": "gzip", "ETag": ETAG, "Cache-Control": "no-cache"}
        if to.headers.get("If-None-Match") == ETAG:
            return self._send(to, 304, headers, b"")
        headers |= {"Content-Type": found[0], "Access-Control-Allow-Origin": "*"}
        return self._send(to, 200, headers, gzip.compress(found[1]))

    def _send(
        self, to: BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes
    ) -> None:
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.send_header("Content-Length", str(len(data)))
        to.end_headers()
        if to.command != "HEAD":
            to.wfile.write(data)
