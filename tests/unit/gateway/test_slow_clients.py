"""Clients that read slowly, not at all, or hang up: nobody else waits for them."""

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from runner.gateway.clients import connection
from runner.gateway.clients.outbox import Held, Outbox
from tests.fakes.kept_engine import FakeEngines, begun, fine, say
from tests.unit.gateway.conftest import BODY, Open, Running
from tests.unit.gateway.test_stays_up import until

PIECE = "x" * 10_000


async def long(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
    """Stream `max_tokens` pieces of 10 kB; or as much in one piece."""
    number = asked.get("max_tokens", 0)
    if not number:
        return await fine(request, asked)
    if not asked.get("stream"):
        return web.json_response({"text": PIECE * number})
    stream = await begun(request)
    for _ in range(number):
        await say(stream, PIECE)
    return stream


@contextlib.asynccontextmanager
async def asking(running: Running, **fields: Any) -> AsyncIterator[socket.socket]:
    """Send a request on a socket with a small buffer that nobody reads."""
    port = int(running.url.rpartition(":")[2])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        body = json.dumps({**BODY, **fields}).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await loop.sock_sendall(client, head.encode() + body)
        yield client


async def everything(client: socket.socket) -> bytes:
    """Return all that comes until the end."""
    got = bytearray()
    while data := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
        got += data
    return bytes(got)


@pytest.mark.parametrize("stream", [True, False])
async def test_who_does_not_read_holds_no_turn_and_loses_nothing(
    gateway: Open, engines: FakeEngines, stream: bool
) -> None:
    engines.answer = long
    async with gateway(parallel=1) as running, contextlib.AsyncExitStack() as slow:
        clients = [
            await slow.enter_async_context(asking(running, stream=stream, max_tokens=350))
            for _ in range(3)
        ]
        async with asyncio.timeout(20):
            assert (await running.text())[0] == 200
            for client in clients:
                text = await everything(client)
                assert text.count(PIECE.encode()) == 350
                assert not stream or text.endswith(b"\r\n0\r\n\r\n")


async def test_who_takes_nothing_is_dropped_in_time(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0.3)
    engines.answer = long
    async with (
        gateway(parallel=1) as running,
        asking(running, stream=True, max_tokens=350),
        asking(running, stream=True, max_tokens=9000),
    ):
        await until(lambda: len(engines.asked) == 2)
        async with asyncio.timeout(20):
            assert (await running.text())[0] == 200, "also one whose answer is larger than the room"


async def test_a_client_that_is_slow_but_moves_is_kept(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0.5)
    engines.answer = long
    loop, got = asyncio.get_running_loop(), bytearray()
    async with gateway() as running, asking(running, max_tokens=1500) as client:
        for _ in range(15):  # far longer than it may take nothing
            until_now = len(got) + 700_000
            while len(got) < until_now and (data := await loop.sock_recv(client, 1 << 16)):
                got += data
            await asyncio.sleep(0.1)
        got += await everything(client)
    assert got.count(PIECE.encode()) == 1500


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [True, False])
async def test_who_hangs_up_leaves_no_trace(
    gateway: Open,
    engines: FakeEngines,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
    reset: bool,
) -> None:
    """At any moment: before the answer, in the middle, while it waits to be read."""
    engines.answer = long
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: faults.append(found))
    with caplog.at_level(logging.WARNING):
        async with gateway(parallel=2) as running:
            for number in range(24):
                async with asking(running, stream=stream, max_tokens=60 * (number % 8)) as client:
                    await asyncio.sleep(0.004 * (number % 6))
                    if reset:
                        linger = struct.pack("ii", 1, 0)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            async with asyncio.timeout(20):
                assert (await running.text())[0] == 200
    assert not faults
    ours = [each for each in caplog.records if each.name.startswith("runner")]
    assert not ours, "the other ones are the fake engine's"


async def test_who_closes_its_sending_half_has_hung_up(gateway: Open, engines: FakeEngines) -> None:
    async def silent(*_: object) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    engines.answer = silent
    async with gateway() as running, asking(running) as client:
        await until(lambda: engines.asked)
        client.shutdown(socket.SHUT_WR)
        await until(lambda: engines.dropped == 1)
        assert await everything(client) == b""


class SlowWriter:
    """A fake of aiohttp's writer and connection: what is written is taken when told so."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.takes = asyncio.Event()
        self.lost = False

    @property
    def writing_paused(self) -> bool:
        return bool(self.written) and not self.takes.is_set()

    async def write(self, chunk: bytes, *, drain: bool = True) -> None:
        assert not drain
        if self.lost:
            raise ConnectionResetError
        self.written.append(chunk)

    async def drain(self) -> None:
        if self.writing_paused:
            await self.takes.wait()


async def test_pieces_wait_up_to_a_bound_of_one_and_of_all() -> None:
    held, writers = Held(each=10, of_all=15), (SlowWriter(), SlowWriter())
    one, two = (Outbox(writer, writer, held) for writer in writers)
    for _ in range(4):
        await one.put(b"abcde")  # the first is written, two more fit
        if held.size == 10:
            break
    third = asyncio.create_task(one.put(b"fghij"))
    await two.put(b"abcde")
    await two.put(b"abcde")
    fourth = asyncio.create_task(two.put(b"fghij"))
    await asyncio.sleep(0.01)
    assert not third.done(), "one has its bound"
    assert not fourth.done(), "all have theirs"
    assert held.size == 15
    writers[1].takes.set()
    await fourth
    await two.empty()
    assert writers[1].written == [b"abcde", b"abcde", b"fghij"]
    writers[0].takes.set()
    await third
    await one.empty()
    assert writers[0].written == [b"abcde", b"abcde", b"abcde", b"fghij"]
    assert held.size == 0
    assert not one.behind, "from now on straight through again"


async def test_what_nobody_takes_any_more_is_forgotten() -> None:
    held, writer = Held(each=10, of_all=10), SlowWriter()
    box = Outbox(writer, writer, held)
    for _ in range(3):
        await box.put(b"abcde")
    waits = asyncio.create_task(box.put(b"abcde"))
    await asyncio.sleep(0.01)
    writer.lost = True
    writer.takes.set()
    with pytest.raises(ConnectionError):
        await waits
    assert held.size == 0
    await box.close()
    assert held.size == 0
