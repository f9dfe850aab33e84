"""A scripted engine: the question says which answer comes, and how fast.

`play KIND COUNT RATE MARK`: COUNT pieces at RATE a second (0: all at once), numbered after MARK, a
letter. `ask N` gets a short answer that ends with `ended N.` After an answer's last byte the
program prints `sent` and the question. Usage: python -m chat_rates.engine PORT
"""

import json
import re
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHORT = (
    "Some **bold** words, `code`, and a list:\n\n- one\n- two\n\n```python\nfor i in range(10):\n"
    "    print(i)\n```\n\n"
    + "A paragraph that is long enough to wrap, as those of answers are. "
    * 6
)
CODE = ("code", "lines")
BEFORE = 400  # list items or lines of code that are there when the stream begins
_PLAY = re.compile(r"play (\w+) (\d+) (\d+) (\w)")


def pieces(kind: str, count: int, mark: str) -> tuple[str, list[str]]:
    """Return what comes at once, and the numbered pieces that follow it."""
    numbers = [f"{mark}{number:05d}" for number in range(count)]
    match kind:
        case "list":
            return "".join(f"- point {n} of a list\n" for n in range(BEFORE)), [
                f"\n- {number} " if place % 3 == 0 else f"{number} "
                for place, number in enumerate(numbers)
            ]
        case "paragraph":
            return "Words of one paragraph that does not end. " * 60, [
                f"{number} " for number in numbers
            ]
        case "code":
            lines = "".join(f"x{n} = call({n}, 'a')  # line\n" for n in range(BEFORE))
            return f"```python\n{lines}", [f"y = '{number}'\n" for number in numbers]
        case "lines":
            return "```python\n", [f"y = call('{number}')  # a line\n" for number in numbers]
        case "event":
            text = ("Words of a very long answer, and more of them. " * 8 + "\n\n") * (count // 378)
            return text, []
        case _:
            return "", [
                f"{number} " + "\n\n" * (place % 60 == 59) for place, number in enumerate(numbers)
            ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        """Say what a server says of itself."""
        known: dict[str, Any] = {
            "/props": {"default_generation_settings": {"n_ctx": 1 << 20}},
            "/v1/models": {"object": "list", "data": [{"id": "m", "object": "model"}]},
        }
        self._reply(json.dumps(known.get(self.path, {"status": "ok"})).encode())

    def do_POST(self) -> None:
        """Answer a chat request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            self._reply(b"{}")
            return
        asked = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for text in self._texts(asked):
            self.wfile.write(_event(text))
        self.wfile.write(_event("", "stop") + b"data: [DONE]\n\n")
        self.close_connection = True
        print(f"sent {asked}", flush=True)

    def _texts(self, asked: str) -> Iterator[str]:
        found = _PLAY.search(asked)
        if found is None:
            yield f"{SHORT}\n\nended {asked.rpartition(' ')[2]}."
            return
        kind, count, rate, mark = found[1], int(found[2]), int(found[3]), found[4]
        first, rest = pieces(kind, count, mark)
        if first:
            yield first
        began = time.monotonic()
        for number, text in enumerate(rest):
            if rate and (wait := began + number / rate - time.monotonic()) > 0:
                time.sleep(wait)
            yield text
        yield f"{'```' * (kind in CODE)}\n\n{mark} has ended."

    def _reply(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    data = {"object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Be silent: a program that is measured may hang up."""


if __name__ == "__main__":
    server = _Server(("127.0.0.1", int(sys.argv[1])), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
