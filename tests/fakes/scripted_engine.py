"""A fake engine behind a real gateway: real HTTP, one answer for every request. No model."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

from runner.gateway.admission import Rules
from runner.gateway.clients.listener import listening
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay
from runner.gateway.engine.sleep import Sleep
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.net.endpoint import Endpoint
from tests.fakes.loopback import Loopback


class ScriptedEngine(Loopback):
    """Answers with `status` and `body`, and keeps what it was asked: method, path, JSON."""

    method = "GET POST"

    def __init__(self, body: bytes, status: int = 200, content_type: str = "") -> None:
        super().__init__()
        self.body = body
        self.status = status
        self.content_type = content_type or "application/json"
        self.accepted: list[str | None] = []  # the encodings that it was told
        self.asked: list[tuple[str, str, Any]] = []

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        length = int(to.headers.get("Content-Length") or 0)
        data = to.rfile.read(length)
        self.asked.append((to.command, to.path, json.loads(data) if data else None))
        self.accepted.append(to.headers.get("Accept-Encoding"))
        to.send_response(self.status)
        to.send_header("Content-Type", self.content_type)
        to.send_header("Content-Length", str(len(self.body)))
        to.end_headers()
        to.wfile.write(self.body)


class ScriptedKeeper(Keeper):
    """Says that the engine is at this address, and ready."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.state = "ready"
        self.restarts = 0
        self.starts = 1
        self.sleep = Sleep()
        self._engine: Any = SimpleNamespace(endpoint=Endpoint(url))

    async def endpoint(self) -> Endpoint:
        return Endpoint(self._url)


@asynccontextmanager
async def gateway(engine: ScriptedEngine, settings: Settings) -> AsyncIterator[str]:
    """Listen in front of a fake engine; yields the gateway's address."""
    relay = Relay()
    try:
        service = Service(settings, Rules({}), ScriptedKeeper(engine.url), relay)
        async with listening(service) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        await relay.close()
