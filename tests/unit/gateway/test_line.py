"""One question to the engine: what is sent, and what becomes of an engine that does not answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest

from runner.gateway.engine.line import SPARES, EngineAnswer, EngineLine, EngineLost, SpareLines
from runner.net.endpoint import Endpoint

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FINE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nfine"


@asynccontextmanager
async def engine(handler: Handler) -> AsyncIterator[Endpoint]:
    """Run a fake engine that does with each connection what `handler` does."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield Endpoint(f"http://127.0.0.1:{port}", api_key="k")


async def _whole(answer: EngineAnswer) -> bytes:
    data = b""
    while piece := await answer.read():
        data += piece
    return data


async def test_a_small_request_is_one_packet_with_the_key_in_its_head() -> None:
    packets = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets.append(await reader.read(1 << 16))
        writer.write(FINE)

    async with engine(handler) as place:
        with closing(EngineLine(place)) as line:
            answer = await line.ask("POST", "/v1/completions", [b'{"a"', b":1}"], {"X-Of": "us"})
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain")
            assert await _whole(answer) == b"fine"
    head, _, body = packets[0].partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/completions HTTP/1.1"
    assert f"Host: {place.base_url.removeprefix('http://')}" in lines
    assert {"Content-Length: 7", "Authorization: Bearer k", "X-Of: us"} < set(lines)


async def test_a_large_body_arrives_whole_and_leaves_the_loop_to_others() -> None:
    body = bytes(range(256)) * (12 << 10)  # 3 MiB
    turns = arrived = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head
        assert await reader.readexactly(len(body)) == body
        arrived = turns
        writer.write(FINE)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with engine(handler) as place:
        beside = asyncio.create_task(others())
        with closing(EngineLine(place)) as line:
            assert await (await line.ask("POST", "/completion", [b"", body])).read() == b"fine"
        beside.cancel()
    assert arrived > 8, "others had their turn between its pieces"


async def test_nobody_there_has_not_been_asked() -> None:
    async with engine(lambda *_: asyncio.sleep(0)) as place:
        pass
    with closing(EngineLine(place)) as line, pytest.raises(EngineLost) as lost:
        await line.ask("GET", "/props")
    assert not lost.value.asked


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"\x16\x03\x01 no HTTP\r\n\r\n"])
async def test_an_engine_that_does_not_answer_has_been_asked(answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with engine(handler) as place:
        with closing(EngineLine(place)) as line, pytest.raises(EngineLost) as lost:
            await line.ask("GET", "/props")
    assert lost.value.asked


async def test_an_answer_that_breaks_off_is_no_end() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FINE[:-1])

    async with engine(handler) as place:
        with closing(EngineLine(place)) as line:
            answer = await line.ask("GET", "/props")
            with pytest.raises(EngineLost):
                await _whole(answer)


async def test_hanging_up_reaches_the_engine_in_the_middle_of_an_answer() -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        assert await reader.read() == b""
        gone.set()

    async with engine(handler) as place:
        with closing(EngineLine(place)) as line:
            answer = await line.ask("GET", "/props")
            assert await answer.read() == b"hi"
        await asyncio.wait_for(gone.wait(), 10)


class Counting:
    """Answers, and counts the connections that were opened and that are open."""

    def __init__(self) -> None:
        self.opened = self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open += 1
        if await reader.read(1 << 16):
            writer.write(FINE)
        self.open -= 1


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.001)


async def test_a_question_takes_the_connection_that_is_open_already() -> None:
    seen = Counting()
    async with engine(seen) as place:
        with closing(SpareLines()) as spare:
            spare.open(place)
            await _until(lambda: len(spare) == 1)
            for opened in (1, 2):  # the second finds none
                with closing(EngineLine(place, spare)) as line:
                    assert await _whole(await line.ask("GET", "/props")) == b"fine"
                assert seen.opened == opened


async def test_what_the_engine_has_closed_or_another_engine_opened_is_not_taken() -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with engine(closes) as before, engine(Counting()) as now:
        with closing(SpareLines()) as spare:
            spare.open(before)
            await _until(lambda: len(spare) == 1)
            await asyncio.sleep(0.05)
            assert spare.take(before) is None
            spare.open(now)
            await _until(lambda: len(spare) == 1)
            assert spare.take(before) is None
            assert spare.take(now) is None, "it is closed by then"


async def test_spare_connections_are_few_and_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Counting()
    monkeypatch.setattr("runner.gateway.engine.line.SPARE_S", 0.2)
    async with engine(seen) as place:
        with closing(SpareLines()) as spare:
            for _ in range(3 * SPARES):
                spare.open(place)
            await _until(lambda: len(spare) == SPARES)
            await _until(lambda: not (spare or seen.open))
        spare.open(place)
        await asyncio.sleep(0.05)
        assert seen.opened == SPARES
