"""A server that sends bytes as they are told, right or wrong, and says nothing else."""

import contextlib
import socket
import struct
import threading
import time
from typing import Self

from chat_attacks.hostile import HostileStream

_LINGER = struct.pack("ii", 1, 0)  # closing sends an RST


class HostileServer:
    """Answers each request with the next of `streams`; a context manager."""

    def __init__(self) -> None:
        self.streams: list[HostileStream] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not _read_request(connection) or not self.streams:
                return
            stream = self.streams.pop(0)
            for piece in stream.pieces:
                connection.sendall(piece)
                if stream.pause_s:
                    time.sleep(stream.pause_s)
            if stream.reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)


def _read_request(connection: socket.socket) -> bool:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    taken = len(body)
    while taken < length:
        if not (more := connection.recv(1 << 20)):
            return False
        taken += len(more)
    return True
