"""A fake SOCKS5 proxy on the loopback: whatever a client asks for, it connects it to one server."""

import socket
import socketserver
import threading
from typing import Self


class _Handler(socketserver.BaseRequestHandler):
    server: "_Server"

    def handle(self) -> None:
        version, methods = self._take(2)
        self._take(methods)
        self.request.sendall(bytes([5, 0]))  # no login
        _, _, _, kind = self._take(4)
        name = self._take(self._take(1)[0] if kind == 3 else {1: 4, 4: 16}[kind])
        self._take(2)
        assert version == 5
        self.server.asked.append(name.decode("ascii", "replace"))
        self.request.sendall(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        with socket.create_connection(self.server.target) as there:
            back = threading.Thread(target=_pump, args=(there, self.request), daemon=True)
            back.start()
            _pump(self.request, there)
            back.join(5)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.request.recv(count - len(data)) or b"\0" * count
        return data


def _pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:  # one of them has hung up
        pass


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    target: tuple[str, int]

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class FakeSocks:
    """Connects every client to `url`, and remembers in `asked` which hosts they named."""

    def __init__(self, url: str) -> None:
        self._server = _Server()
        host, _, port = url.removeprefix("http://").partition(":")
        self._server.target = (host, int(port))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"socks5h://127.0.0.1:{self._server.server_address[1]}"

    @property
    def asked(self) -> list[str]:
        return self._server.asked
