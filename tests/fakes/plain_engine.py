"""A fake engine and a fake keeper, named as such, so that a gateway can be asked over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from runner.gateway.admission import Rules
from runner.gateway.clients.listener import listening
from runner.gateway.engine.relay import Relay
from runner.gateway.engine.sleep import Sleep
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.net.endpoint import Endpoint


@dataclass
class FakeKeeper:
    """Knows an engine that is always there."""

    place: Endpoint
    state: str = "ready"
    waited_s: float = 0.0
    restarts: int = 0
    starts: int = 1
    engine: Any = None
    sleep: Sleep = field(default_factory=Sleep)

    async def endpoint(self) -> Endpoint:
        """Return where the engine is."""
        return self.place


@dataclass
class Guarded:
    """A gateway that listens on `port`; `asked`: (method, path, body) that reached the engine."""

    port: int
    service: Service
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def raw(self, data: bytes, *, wait_s: float = 30.0) -> bytes:
        """Send bytes on a connection of their own; return all that comes back until its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return await asyncio.wait_for(reader.read(), wait_s)
        finally:
            writer.close()

    async def answer(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes on a connection of their own; return the first answer, taken apart."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(20):
                writer.write(data)
                status, headers, _ = parsed(await reader.readuntil(b"\r\n\r\n"))
                return status, headers, await reader.read(int(headers.get("content-length", "0")))
        finally:
            writer.close()

    async def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask once; return status, headers (lower case) and body. `_` in a header's name is `-`."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if body:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
        data = await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return parsed(data)


def parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Take an answer apart."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body


@asynccontextmanager
async def guarded(
    rules: Rules | None = None, tls: Any = None, body: bytes = b'{"fake":true}'
) -> AsyncIterator[Guarded]:
    """Have a gateway before a fake engine that answers anything with `body`."""
    asked: list[tuple[str, str, bytes]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append((request.method, request.path, await request.read()))
        headers = {"Access-Control-Allow-Origin": "*"}  # as llama-server's own
        return web.Response(body=body, headers=headers)

    engine = web.ServerRunner(web.Server(answer))
    await engine.setup()
    await web.TCPSite(engine, "127.0.0.1", 0).start()
    relay = Relay()
    try:
        keeper: Any = FakeKeeper(Endpoint(f"http://127.0.0.1:{engine.addresses[0][1]}"))
        service = Service(Settings(model="fake"), rules or Rules({}), keeper, relay)
        service.settings = replace(service.settings, port=0)
        async with listening(service, tls) as port:
            yield Guarded(port, service, asked)
    finally:
        await relay.close()
        await engine.cleanup()
