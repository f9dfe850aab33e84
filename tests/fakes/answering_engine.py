"""A fake engine behind a real gateway: it answers each request with what the test wants."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

from runner.gateway.admission import Rules
from runner.gateway.clients.listener import listening
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.net.endpoint import Endpoint
from tests.fakes.loopback import Loopback


@dataclass
class ScriptedAnswer:
    """What the engine answers, and what it was asked."""

    status: int = 200
    document: Any = field(default_factory=lambda: {"object": "chat.completion"})
    paths: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)


class AnsweringEngine(Loopback):
    """Answers every POST with `script`."""

    method = "GET POST"

    def __init__(self) -> None:
        super().__init__()
        self.script = ScriptedAnswer()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        length = int(to.headers.get("Content-Length", 0))
        self.script.paths.append(to.path)
        self.script.bodies.append(json.loads(to.rfile.read(length) or b"null"))
        body = json.dumps(self.script.document).encode()
        to.send_response(self.script.status)
        to.send_header("Content-Type", "application/json")
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)


@dataclass
class KeptEngine:
    """A keeper whose engine is there; in the state of the test."""

    where: Endpoint
    state: str = "ready"
    restarts: int = 0
    starts: int = 1

    async def endpoint(self) -> Endpoint:
        return self.where


@asynccontextmanager
async def gateway_to(
    engine: AnsweringEngine, settings: Settings | None = None, longest_word: int = 0
) -> AsyncIterator[str]:
    """Run a gateway before a fake engine; yields its address."""
    relay = Relay()
    kept = KeptEngine(Endpoint(engine.url))
    settings = settings or Settings(port=0, model="step", context=4096, sees=True)
    settings = replace(settings, longest_word=longest_word)
    service = Service(settings, Rules({}), cast("Keeper", kept), relay)
    try:
        async with listening(service) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        await relay.close()
