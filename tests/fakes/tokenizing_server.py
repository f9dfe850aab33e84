"""A fake llama-server that only counts: `/tokenize` makes a token of each word."""

import json
from http.server import BaseHTTPRequestHandler

from tests.fakes.loopback import Loopback


class TokenizingServer(Loopback):
    """`status` and `reply` are what it answers instead, where they are set."""

    method = "POST"

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.status = 200
        self.reply = b""

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        body = json.loads(to.rfile.read(int(to.headers["Content-Length"])))
        self.asked += 1
        tokens = list(range(len(body["content"].split())))
        data = self.reply or json.dumps({"tokens": tokens}, separators=(",", ":")).encode()
        to.send_response(self.status)
        to.send_header("Content-Length", str(len(data)))
        to.end_headers()
        to.wfile.write(data)
