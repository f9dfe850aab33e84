"""A fake engine, named as one: a program that behaves as badly as engines were seen to.

    engine.py MODE … --port N     MODE: good, slow, crash, late-crash, hang, flood, port, stubborn,
                                  large

It answers `/health` and nothing else. The real engine is in `tests/engine`.
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Health(BaseHTTPRequestHandler):
    """Answers any GET as a healthy engine does."""

    def do_GET(self) -> None:
        """Say that all is well; `/die` ends the engine as a native crash would."""
        if self.path == "/die":
            os.kill(os.getpid(), signal.SIGSEGV)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status":"ok"}')

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main(argv: list[str]) -> int:
    """Behave as asked."""
    mode, port = argv[0], int(argv[argv.index("--port") + 1])
    if mode == "crash":
        print("0.00 E model: tensor 'blk.0.x' is wrong", file=sys.stderr, flush=True)
        return 7
    if mode == "port":
        print("E srv start: couldn't bind HTTP server socket", file=sys.stderr, flush=True)
        return 1
    if mode == "hang":
        threading.Event().wait()
    if mode == "flood":
        threading.Thread(target=flood, daemon=True).start()
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "slow":
        for step in range(5):
            print(f"loading {step}", file=sys.stderr, flush=True)
            time.sleep(0.1)
    held = b"x" * (400 << 20) if mode == "large" else b""
    HTTPServer(("127.0.0.1", port), Health).serve_forever()
    return len(held)


def flood() -> None:
    """Write log lines without end."""
    line = "x" * 200
    while True:
        print(line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
