"""A client that sends any bytes, right or wrong, and reads one answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"
STATUS_S = 10.0


@dataclass(frozen=True)
class Target:
    """The gateway. `key`: empty where it needs none."""

    url: str
    key: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Its address and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> bytes:
        """Return a request's bytes; a header of the default ones is left out by an empty value."""
        host, port = self.place
        wanted = {"Host": f"{host}:{port}", "Connection": "close"}
        if body:
            wanted |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if self.key:
            wanted["Authorization"] = f"Bearer {self.key}"
        wanted |= headers or {}
        lines = [f"{name}: {value}\r\n" for name, value in wanted.items() if value]
        return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1") + body

    def post(self, document: Any, path: str = CHAT, **headers: str) -> bytes:
        """Return the bytes of a POST with a JSON body. `_` in a header's name is `-`."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.request(
            "POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()}
        )

    async def send(self, data: bytes, *, wait_s: float = 120.0) -> int:
        """Send bytes; return the status of the answer, 0 for a connection closed without one.

        -1: no answer and no end in time.
        """
        try:
            async with asyncio.timeout(wait_s):
                reader, writer = await asyncio.open_connection(*self.place)
                try:
                    sending = asyncio.create_task(_write(writer, data))
                    line = await reader.readline()
                    if line.startswith(b"HTTP/1.1 100"):
                        await reader.readline()
                        line = await reader.readline()
                    if b" 200 " in line:
                        await reader.read()  # a refusal may be followed by a wait for its body
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                finally:
                    writer.close()
        except TimeoutError:
            return -1
        except OSError:
            return 0
        words = line.split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    async def restarts(self) -> int | None:
        """Return how often the engine was started again; None where the gateway does not say."""
        try:
            async with asyncio.timeout(STATUS_S):
                reader, writer = await asyncio.open_connection(*self.place)
                try:
                    writer.write(self.request("GET", "/steprun/status"))
                    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
                finally:
                    writer.close()
            return int(json.loads(body)["restarts"])
        except (OSError, ValueError, KeyError, TypeError):  # TimeoutError is an OSError
            return None


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
