"""What the fakes that speak HTTP have in common: a free port of the loopback, a thread, an end."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a short body waits 40 ms for the head's acknowledgement

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # clients that open many connections at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up between two requests."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Loopback:
    """Answers requests for as long as it is entered. `method`: of these, with a space between."""

    method = "GET"

    def __init__(self, port: int = 0) -> None:
        def do(to: BaseHTTPRequestHandler) -> None:
            if self.over.is_set():  # a connection that has outlived its server
                to.close_connection = True
            else:
                self.answer(to)

        handler = type("Handler", (_Handler,), {f"do_{each}": do for each in self.method.split()})
        self._server = _Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.over = threading.Event()  # the test has ended: let go of who waits

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        raise NotImplementedError
