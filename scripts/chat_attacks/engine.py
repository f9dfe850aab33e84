"""A fake engine that streams numbered words, and remembers when it sent each."""

import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler

from tests.fakes.loopback import Loopback

STEPS = ("reading", "thinking", "answering")


class WordEngine(Loopback):
    """Answers each question with `words` words, some of them thinking, `rate` a second.

    `sent`: each word and when it left, in seconds of the monotonic clock. `step`: what it is doing,
    empty between two answers. `cut()` breaks the running answer off, as an engine does that dies.
    """

    method = "POST"

    def __init__(self, dice: random.Random, rate: float = 40.0) -> None:
        super().__init__()
        self.sent: list[tuple[float, str]] = []
        self.step = ""
        self._dice = dice
        self._rate = rate
        self._count = 0
        self._cut = threading.Event()

    def cut(self) -> None:
        """Break the running answer off."""
        self._cut.set()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Stream one answer."""
        to.rfile.read(int(to.headers["Content-Length"]))
        to.close_connection = True
        self._cut.clear()
        try:
            to.send_response(200)
            to.send_header("Content-Type", "text/event-stream")
            to.end_headers()
            self._stream(to)
        except OSError:
            pass  # the chat was killed
        finally:
            self.step = ""

    def _stream(self, to: BaseHTTPRequestHandler) -> None:
        for step in STEPS:
            self.step = step
            for _ in range(self._dice.randrange(5, 120)):
                if self._cut.wait(1 / self._rate) or self.over.is_set():
                    return
                self._send(to, step)
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        to.wfile.write(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")

    def _send(self, to: BaseHTTPRequestHandler, step: str) -> None:
        chunk: dict[str, object]
        if step == "reading":
            chunk = {"choices": [], "prompt_progress": {"processed": 1, "total": 2, "cache": 0}}
        else:
            self._count += 1
            word = f"a{self._count}"
            name = "content" if step == "answering" else "reasoning_content"
            chunk = {"choices": [{"index": 0, "delta": {name: f"{word} "}}]}
            self.sent.append((time.monotonic(), word))
        to.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        to.wfile.flush()
