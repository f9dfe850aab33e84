"""A fake engine, named as one: answers every POST with 60 events a second.

As an engine's program it takes llama-server's flags, and heeds `--port` only. With `serve` as its
first word it starts `steprun serve` with itself as the engine:

    python -m gateway_checks.paced_engine serve --model tiny-step.gguf --port 9000
"""

import json
import sys
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

EVENTS_PER_S: Final = 60.0  # a fast answer of the real model
# The size of a token's event of llama-server b11549: 250 bytes.
_EVENT: Final = json.dumps(
    {
        "choices": [{"finish_reason": None, "index": 0, "delta": {"content": " word"}}],
        "created": 1795771322,
        "id": "chatcmpl-" + "x" * 32,
        "model": "paced",
        "system_fingerprint": "b11549-paced",
        "object": "chat.completion.chunk",
    }
)


class PacedHandler(BaseHTTPRequestHandler):
    """Answers as an engine would that writes at a steady pace."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or an event waits for the head's acknowledgement: 40 ms

    def do_GET(self) -> None:
        """Say that all is well."""
        body = b'{"status":"ok"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Send `max_tokens` events."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        began = time.monotonic()
        for number in range(int(asked["max_tokens"])):
            self._chunk(f"data: {_EVENT}\n\n".encode())
            time.sleep(max(0.0, began + (number + 1) / EVENTS_PER_S - time.monotonic()))
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def serve_behind_gateway(argv: Sequence[str]) -> None:
    """Run steprun with this program in place of the engine's."""
    # The engine itself needs neither.
    from runner.cli.main import main as steprun  # noqa: PLC0415
    from runner.engine.process import supervisor  # noqa: PLC0415

    class PacedProcess(supervisor.EngineProcess):
        """The engine's process, with another program."""

        def __init__(self, _: Sequence[str], *rest: Any, **named: Any) -> None:
            super().__init__((sys.executable, __file__), *rest, **named)

    supervisor.EngineProcess = PacedProcess  # type: ignore[misc,assignment]
    sys.argv = ["steprun", *argv]
    steprun()


def main(argv: Sequence[str]) -> None:
    """Be the engine, or the gateway with it behind."""
    if argv[0] == "serve":
        serve_behind_gateway(argv)
    port = int(argv[argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), PacedHandler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
